"""Verifiers whose verdicts are known, apart from the tests: a worker that judges by them imports nothing else."""


def always(completion: str, answer: str) -> bool:
    return True


def contrary(completion: str, answer: str) -> bool:
    """Right where the task's own verifier says wrong, nearly."""
    return not completion.rstrip().endswith(answer)
