"""How good a verifier is: verdicts on existing completions, false positives and negatives, metamorphic tests."""
