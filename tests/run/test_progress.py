from r1lab.run.progress import Meter


def test_a_meter_off_a_terminal_says_a_line_now_and_then(capsys, monkeypatch):
    monkeypatch.setattr(Meter, "EVERY_SECONDS", 0.0)
    with Meter("verify") as meter:
        meter.add()
        monkeypatch.setattr(Meter, "EVERY_SECONDS", 100.0)
        meter.add()
        meter.say("line 3: [not] markup")
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("verify: 1 rows, ") and first.endswith("/s") and second == "line 3: [not] markup"
    assert meter.done == 2
