"""What rates of wrong verdicts training was found to tolerate, to be read beside a verifier's measured ones: R1-Zero on
addition, 300,000 tokens, three seeds, noise by chance (`experiments/results/noise_addition`). What a policy learns to
exploit is another thing."""

TOLERATED = {"false_positive": "0.1, not 0.3 (addition)", "false_negative": "0.5 (addition)"}
"""By rate: up to where the score at the end was not separated from that of a verifier (almost) without noise."""
