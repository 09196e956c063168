"""What rates of wrong verdicts training was found to tolerate, to be read beside a verifier's measured ones. Figures of
experiments alone: where none was made, that is what is said."""

NOT_MEASURED = "not measured here"
TOLERATED = {"false_positive": NOT_MEASURED, "false_negative": NOT_MEASURED}
"""By rate: what training with so many verdicts turned round still gained, on which task, with its interval."""
