"""What published systems run, as far as it is an objective: rows of PRESETS. Their data, lengths and rates are a
recipe's."""

from r1lab.objective.presets.fields import CLIP, Preset, k2

REDRAWN = {"group": {"select": "drop_zero_variance", "refill": {"max_draws": 3}}}
LEFT_OUT = {"group": {"select": "drop_zero_variance"}}

SYSTEMS = {
    "olmo3_zero": Preset("2512.13961",
        "A = r - mean; clip 0.2/0.272; mean over all tokens; groups of equal rewards redrawn",
        REDRAWN | {"clip_high": 0.272},
        note="Olmo 3's RL-Zero; with it goes the stage's curriculum: {use: no_positive_resampling, rate: 0.875}"),
    "magistral": Preset("2506.10910",
        "A = r - mean, whitened over the step's tokens; clip 0.2/0.28; mean over all tokens; equal groups redrawn",
        REDRAWN | {"advantage": {"use": "mean", "scale": "whiten"}},
        note="the paper normalises in each minibatch and sets the upper clip between 0.26 and 0.28"),
    "prorl_v2": Preset("2505.24864 + NeMo RL's prorlv2",
        "magistral's A; clip 0.2/0.27; 1e-4 k2 to a reference renewed every 200 steps; icepop 0.5 to 5",
        REDRAWN | {"advantage": {"use": "mean", "scale": "whiten"}, "clip_high": 0.27,
         "kl": {**k2(1e-4)["kl"], "ref_refresh_steps": 200},
         "correction": {"use": "icepop", "low": 0.5, "high": 5.0}},
        note="how often the reference is renewed is not published: 200 is this lab's"),
    "skywork_or1": Preset("2505.22312",
        "A = (r - mean) / std; clip 0.2; mean over all tokens; equal groups left out; entropy steered to 0.2",
        LEFT_OUT | {"advantage": "zscore", "entropy": {"coef": 0.0, "target": 0.2, "delta": 0.005}} | CLIP),
    "deepseek_v3_2": Preset("2512.02556",
        "A = r - mean; clip 0.2; mean of each sequence; 0.001 of k3 times R; wrong sequences far off policy masked",
        {"clip_high": 0.2, "aggregate": "seq_token_mean", "kl": {"estimator": "k3_is", "coef": 0.001},
         "mask": {"use": "off_policy", "delta": 0.5}},
        note="the paper leaves the bound (delta) and the coefficient of the KL to the task; routing replay and the "
        "sampler's truncation mask are not here"),
    "scale_rl": Preset("2510.13786",
        "A = (r - mean) / std of the step; -A sg(min(R, 5)) log p; mean of each prompt's tokens; equal groups left out",
        LEFT_OUT | {"advantage": {"use": "mean", "scale": "batch_std"}, "weight": {"policy": "cispo", "demo": "one"},
         "clip_low": 1.0, "clip_high": 4.0, "aggregate": "prompt_mean"},
        note="with it goes the stage's curriculum: no_positive_resampling; the paper chooses the upper bound by a "
        "search"),
}  # fmt: skip
