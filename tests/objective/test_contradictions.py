import pytest

from r1lab.errors import RecipeError
from r1lab.objective import build
from r1lab.recipe import ObjectiveConfig

GAE = {"use": "gae", "lam": 0.9}


@pytest.mark.parametrize("knobs, says", [
    ({"weight": {"demo": "ppo"}}, "objective.weight.demo: 'ppo' compares with old log-probabilities, which a demonst"),
    ({"preset": "sft", "weight": {"demo": "gspo"}}, "objective.weight.demo: 'gspo' compares with old"),
    ({"kl": {"estimator": "k1", "coef": 0.1}}, "objective.kl: k1 as a loss .*teaches nothing; use estimator: k2 or k3"),
    ({"weight": {"policy": "nft"}}, r"objective: weight: \{policy: nft\} goes with advantage: nft"),
    ({"preset": "nft", "advantage": "mean"}, r"objective: weight: \{policy: nft\} goes with advantage: nft"),
    ({"preset": "nft", "weight": {"policy": "one"}}, r"objective: advantage: nft goes with weight: \{policy: nft\}"),
    ({"advantage": "remax"}, r"objective: advantage: remax goes with group: \{select: greedy\}"),
    ({"preset": "remax", "advantage": "mean"}, r"objective: group: \{select: greedy\} goes with advantage: remax"),
    ({"preset": "raft", "advantage": "mean"}, "objective.advantage: 'mean' compares rewards, which group: correct_o"),
    ({"weight": {"pair": "dpo"}}, r".*weight: \{pair: dpo\} and group: \{select: pairs\} go together"),
    ({"group": {"select": "pairs"}}, r".*weight: \{pair: dpo\} and group: \{select: pairs\} go together"),
    ({"preset": "dpo", "advantage": "mean"}, r".*advantage: pair and group: \{select: pairs\} go together"),
    ({"preset": "sft", "kl": {"coef": 0.1}}, "objective.kl: .* acts on sampled tokens, and demonstrations have none"),
    ({"preset": "sft", "entropy": {"coef": 0.1}}, "objective.entropy: .* acts on sampled tokens"),
    ({"preset": "sft", "entropy": {"target": 0.1}}, "objective.entropy: .* acts on sampled tokens"),
    ({"mix": "const"}, "objective.mix: 'const' .*which does not put demonstrations beside samples"),
    ({"preset": "sft", "mix": {"use": "cos"}}, "objective.mix: .*does not put demonstrations beside samples"),
    ({"advantage": {"use": "mean", "lam": 0.9}}, "objective.advantage: lam with 'mean'; it belongs to advantage: {us"),
    ({"advantage": {"use": "mean", "scale": "batch"}}, "objective.advantage.scale: .*did you mean 'batch_std'"),
    ({"advantage": {**GAE, "gamma": 1.5}}, "objective.advantage.gamma: 1.5 must be from 0 to 1"),
    ({"advantage": {**GAE, "value_rate": -1}}, "objective.advantage.value_rate: -1 must be at least 0"),
    ({"advantage": {"use": "pass_at_k", "k": 8}}, "objective.advantage.k: 8 must be from 1 to below group_size 8"),
    ({"advantage": {"use": "pass_at_k", "k": 0}}, "objective.advantage.k: 0 must be from 1 to below group_size 8"),
    ({"correction": ["tis", "ice"]}, "objective.correction: 'ice' is none of none, tis, icepop, within"),
    ({"correction": [{"use": "tis", "low": 1.0}]}, "objective.correction: unknown setting 'low'; allowed: cap, level"),
    ({"correction": {"use": "tis", "level": "word"}}, "objective.correction.level: 'word' must be one of token, seq_m"),
    ({"mask": {"use": "top_entropy", "role": "pair"}}, "objective.mask.role: 'pair' must be one of policy, demo, pref"),
])  # fmt: skip
def test_a_contradiction_is_one_clear_line_before_any_compute(knobs, says):
    with pytest.raises(RecipeError, match=f"^{says}") as error:
        build(ObjectiveConfig(**knobs), max_new_tokens=16, group_size=8)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("preset", ["luffy", "dpo", "gfpo", "pods"])
def test_a_group_of_one_is_too_small(preset):
    with pytest.raises(RecipeError, match="group_size"):
        build(ObjectiveConfig(preset=preset), max_new_tokens=16, group_size=1)


@pytest.mark.parametrize("knobs", [
    {"kl": {"estimator": "k1", "coef": 0.0}}, {"kl": {"estimator": "k1", "coef": 0.1, "where": "reward"}},
    {"mix": {"use": "roles", "policy": 0.5}}, {"preset": "raft", "advantage": "one"},
    {"mask": ["off_policy", {"use": "clip_cov", "share": 0.1}]}, {"preset": "hpt", "mix": "const"},
])  # fmt: skip
def test_what_does_not_contradict_builds(knobs):
    assert build(ObjectiveConfig(**knobs), max_new_tokens=16, group_size=8)
