"""Methods that learn from rewards: rows of PRESETS."""

from r1lab.objective.presets.fields import CLIP, DAPO, GRPO, K1_IN_REWARD, NO_CLIP, REINFORCE, Preset, k2, k3

RIGHT_ONLY = "the mean is over right completions; published scripts keep wrong ones, and an entropy term of 0.001"
SUBSETS = "the mean is over all completions; published scripts take the subset, and an entropy term of 0.001"

POLICY_GRADIENT = {
    "raft": Preset(
        "2304.06767",
        "-log p of right completions: rejection sampling",
        REINFORCE | {"group": {"select": "correct_only"}, "advantage": "raft", "aggregate": "token_mean"},
        note=RIGHT_ONLY,
    ),
    "raft_pp": Preset(
        "2504.11343",
        "right completions; clip 0.2; 0.001 k3",
        {"group": {"select": "correct_only"}, "advantage": "raft"} | CLIP | k3(0.001),
        note=RIGHT_ONLY,
    ),
    "reinforce": Preset("Williams 1992", "A = r; -A log p summed over a sequence", REINFORCE | {"advantage": "raw"}),
    "rloo": Preset(
        "2402.14740",
        "A = r - mean of the others; -A log p summed over a sequence",
        REINFORCE | {"advantage": "rloo"},
        note="the paper's KL in the reward (0.03 to 0.05) is left out; kl: {estimator: k1, coef: 0.03, where: reward}",
    ),
    "remax": Preset(
        "2310.10505",
        "A = r - r of the greedy completion; -A log p summed over a sequence",
        REINFORCE | {"group": {"select": "greedy"}, "advantage": "remax"},
        note="the paper's KL in the reward is left out; kl: {estimator: k1, coef: 0.03, where: reward}",
    ),
    "reinforce_pp": Preset(
        "2501.03262",
        "A_t = r - 0.001 sum of k1 from t on, whitened over the step's tokens; clip 0.2",
        {"advantage": {"use": "raw", "scale": "whiten"}} | CLIP | K1_IN_REWARD,
    ),
    "reinforce_pp_baseline": Preset(
        "2501.03262",
        "A = r - mean, whitened over the step's tokens; clip 0.2; 1e-5 k2",
        {"advantage": {"use": "mean", "scale": "whiten"}} | CLIP | k2(1e-5),
        note="without the reference model, as in verl: kl: {coef: 0}",
    ),
    "opo": Preset(
        "2505.23585", "A = r - length-weighted mean; -A log p summed over a sequence", REINFORCE | {"advantage": "opo"}
    ),
    "reinforce_rej": Preset(
        "2504.11343",
        "A = r; groups of equal rewards dropped; clip 0.2; 0.001 k3",
        {"group": {"select": "drop_zero_variance"}, "advantage": "reinforce_rej"} | CLIP | k3(0.001),
        note="the published script's entropy term of 0.001 is left out",
    ),
    "ppo": Preset(
        "1707.06347 + 1506.02438",
        "A = GAE(1, 0.95) of r - 0.001 k1 with a value head, whitened; clip 0.2; 0.5 (V - return)^2 / 2",
        {"advantage": {"use": "gae", "gamma": 1.0, "lam": 0.95, "scale": "whiten"}} | CLIP | K1_IN_REWARD,
        note="the value head reads the policy's hidden states; its settings stand under advantage: {use: gae, ...}; "
        "values are not clipped, and the value loss reaches the trunk",
    ),
    "psr": Preset("2506.01347", "A = 1 if right, else 0; clip 0.2", {"advantage": "psr"} | CLIP, note=SUBSETS),
    "nsr": Preset("2506.01347", "A = -1 if wrong, else 0; clip 0.2", {"advantage": "nsr"} | CLIP, note=SUBSETS),
    "w_reinforce": Preset(
        "2506.01347",
        "A = 0.1 if right, -1 if wrong; clip 0.2",
        {"advantage": {"use": "w_reinforce", "positive": 0.1}} | CLIP,
        note="the published script's entropy term of 0.001 is left out",
    ),
}

GROUP_RELATIVE = {
    "grpo": Preset(
        "2402.03300",
        "A = (r - mean) / std; clip 0.2; mean of each sequence; 0.04 k3",
        GRPO | {"clip_high": 0.2} | k3(0.04),
    ),
    "dr_grpo": Preset(
        "2503.20783", "A = r - mean; clip 0.2; sum / max_new_tokens", {"clip_high": 0.2, "aggregate": "const"}
    ),
    "lite_ppo": Preset(
        "2508.08221",
        "A = (r - mean) / std of the step; clip 0.2; mean over all tokens",
        {"advantage": {"use": "mean", "scale": "batch_std"}} | CLIP,
        note="with truncated: mask, cut completions leave the std too (TRL keeps them)",
    ),
    "dapo": Preset(
        "2503.14476",
        "A = (r - mean) / std; clip 0.2/0.28; mean over all tokens; all-right and all-wrong groups redrawn",
        DAPO,
        note="the overlong reward and mask are the recipe's: reward: {score: 1.0, soft_overlong: 1.0}, truncated: mask",
    ),
    "gspo": Preset(
        "2507.18071",
        "A = (r - mean) / std; ratio s = exp(mean log-ratio) of the sequence, clip 3e-4/4e-4; mean of each sequence",
        GRPO | {"weight": {"policy": "gspo", "demo": "one"}, "clip_low": 3e-4, "clip_high": 4e-4},
        note="the correction's factor stands on each token (as in verl's token form), not on the sequence's ratio",
    ),
    "cispo": Preset(
        "2506.13585",
        "A = (r - mean) / std; -A sg(min(R, 5)) log p",
        {"advantage": "zscore", "weight": {"policy": "cispo", "demo": "one"}, "clip_low": 1.0, "clip_high": 4.0},
    ),
    "sapo": Preset(
        "2511.20347",
        "A = (r - mean) / std; A R 4 s (1 - s), s = sigma(tau (R - 1)), tau 1 or, for A < 0, 1.05; mean of sequences",
        {"advantage": "zscore", "weight": {"policy": "sapo", "demo": "one"}, "aggregate": "seq_token_mean"} | NO_CLIP,
    ),
    "nft": Preset(
        "2505.18116",
        "imitate right answers, and of wrong ones the implicit negative policy; q the solved rate in [0.02, 0.98]",
        {"group": DAPO["group"], "advantage": "nft", "weight": {"policy": "nft", "demo": "one"}, "aggregate": "const"}
        | NO_CLIP,
    ),
    "clip_cov": Preset(
        "2505.22617",
        "dapo without its clip; 0.02 % of the tokens with covariance in (1, 5) masked",
        DAPO | {"clip_low": 1.0, "clip_high": 1.0, "mask": {"use": "clip_cov", "share": 2e-4, "low": 1.0, "high": 5.0}},
    ),
    "kl_cov": Preset(
        "2505.22617",
        "dapo without a clip; + |log p - old| on the 0.2 % of tokens with the largest covariance",
        DAPO
        | {"weight": {"policy": "unclipped", "demo": "one"}, "mask": {"use": "kl_cov", "share": 0.002, "coef": 1.0}}
        | NO_CLIP,
    ),
    "entropy_advantage": Preset(
        "2506.14758",
        "A = (r - mean) / std + min(0.4 sg(H), |A| / 2); clip 0.2/0.28",
        {"advantage": "zscore", "weight": {"policy": "entropy_advantage", "demo": "one"}},
    ),
    "gfpo": Preset(
        "2508.09726",
        "the 4 shortest of a group; A = (r - mean) / std of those; clip 0.2",
        {"group": {"select": "gfpo", "keep": 4, "metric": "length"}, "advantage": "zscore"} | CLIP,
        note="samples group_size completions and learns from group.keep of them, which alone are in the mean",
    ),
    "pods": Preset(
        "2504.13818",
        "the 4 of a group whose rewards vary most; A = (r - mean) / std of those; clip 0.2; mean of each sequence",
        {"group": {"select": "pods", "keep": 4}} | GRPO | CLIP,
        note="samples group_size completions and learns from group.keep of them",
    ),
}
