import pytest

from r1lab.errors import RecipeError
from r1lab.rollout import verification
from r1lab.run.progress import Progress


def test_programs_without_walls_are_told_at_every_step(capsys):
    table = verification.resolve([{"use": "code", "isolation": "none"}, {"use": "code", "credit": "all"}, "math"])
    (warning,) = verification.warnings(table)
    assert warning.startswith("code#") and warning.endswith("programs run WITHOUT ISOLATION")
    progress = Progress()
    progress.stage("rl", 2, None)
    progress.warnings = [warning]
    for step in (1, 2):
        progress.step({"step": step, "reward/mean": 0.5})
    assert capsys.readouterr().err.count("WITHOUT ISOLATION") == 2


JUDGE = {"use": "judge", "prompt": "f", "options": {"yes": 1, "no": 0}}


@pytest.mark.parametrize("spec", [{"use": "reward_model", "path": "scores"}, JUDGE])
def test_a_learned_scorer_is_no_verifier(spec):
    for resolve in (lambda: verification.resolve(["math", spec]), lambda: verification.resolve_one(spec)):
        with pytest.raises(RecipeError, match=f"{spec['use']} is a learned scorer, a part of a reward") as end:
            resolve()
        assert "{" * 2 not in str(end.value) and "\n" not in str(end.value)
