"""Methods that learn from demonstrations or pairs, alone or beside reinforcement: rows of PRESETS."""

from r1lab.objective.presets.fields import BESIDE, BONUS, CLIP, GRPO, IMITATION, NO_CLIP, PAIRS, Preset, k3

DEMONSTRATIONS = {
    "sft": Preset("behaviour cloning", "-log p of the demonstration, mean over all tokens",
        IMITATION | {"weight": {"demo": "one"}}),
    "dft": Preset("2508.05629", "-sg(p) log p of the demonstration", IMITATION | {"weight": {"demo": "prob"}}),
    "iw_sft": Preset("2507.12856", "-c log p, c = exp(mean log-ratio to the reference) in [0, 16], one a sequence",
        IMITATION | {"weight": {"demo": {"use": "iw", "temperature": 1.0, "cap": 16.0}}}),
    "gem": Preset("2408.16673", "-k log softmax(z / k) of the demonstration, k = 0.7",
        IMITATION | {"weight": {"demo": {"use": "gem", "kappa": 0.7}}},
        note="the paper's h is linear here; the scripts' log-sigmoid has nearly the same direction at half the size"),
    "one_token_rollout": Preset("2509.26313",
        "expected policy gradient of one sampled token a position, reward 1 if right, else -0.1; q at k = 1.3",
        IMITATION | {"weight": {"demo": {"use": "otr", "kappa": 1.3, "beta": -0.1}}}),
    "token_cleaning": Preset("2502.01968",
        "-log p of the 60 % of tokens whose log p has risen most since the stage began",
        IMITATION | {"weight": {"demo": "one"}, "mask": {"use": "token_cleaning", "keep": 0.6}},
        note="the self-evolving form: the policy scores its own tokens against the model the stage began with"),
}  # fmt: skip

HYBRIDS = {
    "luffy": Preset("2504.14945",
        "A = r - mean of samples and demonstration; A R, on the demonstration A p / (p + 0.1); entropy 0.001",
        {"group": {"select": "with_demonstration", "instead": True}, "advantage": {"use": "mean", "include_demo": True},
         "weight": {"policy": "unclipped", "demo": {"use": "off_shape", "gamma": 0.1}}, "aggregate": "const"}
        | NO_CLIP | BONUS,
        note="the entropy bonus is of sampled tokens, under the same denominator; a demonstration is paid score alone"),
    "srft": Preset("2506.19767",
        "0.1 exp(H) log p if right, -log p if wrong; 0.5 exp(-H) log p + A p / (p + 0.1) of the demonstration",
        BESIDE | {"advantage": {"use": "srft", "include_demo": True}, "weight": {"policy": "srft", "demo": "srft_demo"},
         "mix": {"use": "roles"}} | NO_CLIP | BONUS,
        note="expectations as in the paper: the mean over sampled tokens, plus the mean over demonstrated ones; a "
        "demonstration is paid score alone"),
    "hpt": Preset("2509.04419",
        "dr_grpo without a clip where any sample is right, else SFT on the demonstration; entropy 0.001",
        {"group": {"select": "gate", "gate": 0}, "weight": {"policy": "unclipped", "demo": "one"}}
        | {"aggregate": "const"} | NO_CLIP | BONUS,
        note="SFT stands under the same denominator as dr_grpo; the repository takes its token mean instead"),
    "dyme": Preset("2506.23061", "grpo without KL where any sample is right, else SFT on the demonstration",
        {"group": {"select": "gate", "gate": 0}} | GRPO | CLIP,
        note="failed completions leave the mean where the demonstration stands for them; the repository keeps them"),
    "relift": Preset("2506.07527",
        "dr_grpo without a clip; unsolved problems are buffered for SFT steps of their own; entropy 0.001",
        {"group": {"select": "set_aside", "batch": 128}, "weight": {"policy": "unclipped", "demo": "one"},
         "aggregate": "const"} | NO_CLIP | BONUS,
        note="one optimizer and rate for both, sum / max_new_tokens for SFT too; the repository has a second AdamW"),
    "chord_mu": Preset("2508.11408", "(1 - mu) grpo + mu SFT, mu from 0.9 to 0.05 as a cosine over 200 steps",
        BESIDE | {"advantage": "zscore", "mix": {"use": "cos", "warmup": 0, "decay": 200, "peak": 0.9, "valley": 0.05}}
        | CLIP),
    "chord_phi": Preset("2508.11408", "0.9 grpo + 0.1 p (1 - p) log p of the demonstration",
        BESIDE | {"advantage": "zscore", "weight": {"policy": "ppo", "demo": "phi"}, "mix": {"use": "const", "mu": 0.1}}
        | CLIP),
    "uft": Preset("2505.16984",
        "grpo behind a hint of 0 to 5 fifths of the demonstration; + 0.001 of its -log p; 0.001 k3",
        {"group": {"select": "hint", "chunks": 5, "draws": 10_000}, "advantage": "zscore",
         "weight": {"policy": "ppo", "prefix": "nll"}, "mix": {"use": "roles", "prefix": 0.001}} | CLIP | k3(0.001),
        note="hints count in max_new_tokens; set group.draws to prompts_per_step times the steps that have hints"),
    "prefix_rft": Preset("2507.01679",
        "dr_grpo; one sample continues 5 to 95 % of the demonstration, learned on its 20 % of largest entropy",
        {"group": {"select": "one_prefix", "start": 0.95, "end": 0.05, "draws": 10_000},
         "weight": {"policy": "ppo", "prefix": "one"}, "aggregate": "const",
         "mask": {"use": "top_entropy", "share": 0.2, "role": "prefix", "per": "sequence"}} | CLIP,
        note="the prefix counts in max_new_tokens; its share is uniform between a bound, which falls from start to end "
        "over group.draws, and start; set group.draws to prompts_per_step times the steps of the fall"),
    "bread": Preset("2506.17211",
        "grpo without KL; where all fail, behind a part of the demonstration found by bisection, itself not learned",
        {"group": {"select": "bisect", "tries": 3}, "weight": {"policy": "ppo"}} | GRPO | CLIP),
}  # fmt: skip

PAIRS_OF_A_GROUP = "kind: rl makes pairs of a group's completions, kind: preference reads them from the data"
PREFERENCES = {
    "dpo": Preset("2305.18290",
        "-log sigma(0.1 [log-ratio of the best completion - log-ratio of the worst]) to the reference",
        {"group": {"select": "pairs"}, "weight": {"pair": {"use": "dpo", "beta": 0.1}}} | PAIRS, note=PAIRS_OF_A_GROUP),
    "rpo": Preset("2405.16436", "dpo with beta 0.01, + 0.005 x 0.01 of -log p of the chosen completion",
        {"group": {"select": "pairs", "imitate": True}, "weight": {"pair": {"use": "dpo", "beta": 0.01}, "demo": "one"},
         "mix": {"use": "roles", "demo": 5e-5}} | PAIRS, note=PAIRS_OF_A_GROUP),
    "ipo": Preset("2310.12036", "(log-ratio of the chosen - log-ratio of the rejected - 1 / (2 x 0.1))^2",
        {"group": {"select": "pairs"}, "weight": {"pair": {"use": "ipo", "beta": 0.1}}} | PAIRS, note=PAIRS_OF_A_GROUP),
    "simpo": Preset("2405.14734", "-log sigma(2 [mean log p of the chosen - mean log p of the rejected] - 1)",
        {"group": {"select": "pairs"}, "weight": {"pair": {"use": "simpo", "beta": 2.0, "gamma": 1.0}}} | PAIRS,
        note=PAIRS_OF_A_GROUP),
}  # fmt: skip
