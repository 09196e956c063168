"""A verifier of each kind, apart from the tests: a worker that judges by it imports nothing else."""


def lenient(completion: str, answer: str) -> bool:
    return any(digit in completion for digit in answer)


def strict(completion: str, answer: str) -> bool:
    return completion.strip().startswith(answer)
