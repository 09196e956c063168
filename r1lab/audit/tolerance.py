"""What rates of wrong verdicts training was found to tolerate, to be read beside a verifier's measured ones. Figures of
experiments alone (`experiments/results/noise_addition`: R1-Zero at 300,000 tokens, three seeds, noise by chance)."""

TOLERATED = {
    "false_positive": "10 % on addition (81.8 % right at the end against 82.6 % at 2 %, not separated; 30 % costs 5)",
    "false_negative": "50 % on addition (85.9 % right at the end against 82.7 % at none, not separated)",
}
"""By rate: what training with so many verdicts turned round still gained, on which task, with its interval."""
