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
