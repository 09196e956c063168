from r1lab.report.tables import Panel, Section, as_html, as_text, percent
from r1lab.stats.intervals import Interval, wilson

TABLE = Section("Title", ("name", "n"), [("a", 5), ("longer", None), ("<i>\x1b[1m\u202e", 12)], shown=2)


def test_text_is_aligned_cut_and_says_how_much_is_left_out():
    assert (
        as_text([TABLE, Section("Empty", ("a",), [])]) == "Title\n  name    n\n  a       5\n  longer  -\n  ... 1 more"
    )
    assert "x" * 117 + "..." in as_text([Section("T", ("a",), [("x" * 500,)])]).replace("\n  ", "")


def test_words_that_do_not_fit_go_over_lines_and_figures_stay_whole(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    rows = [("one two three four five six seven", "a b", 1234567), ("short", "b", 1)]
    assert as_text([Section("T", ("long", "w", "n"), rows, num_words=2)]).splitlines() == [
        "T",
        "  long                      w          n",
        "  one two three four five   a b  1234567",
        "  six seven",
        "  short                     b          1",
    ]


def test_a_reason_stands_whole_under_its_row(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    reason = "no verdict within 5 s; its witness fails as well (no verdict within 5 s)\x1b[2J"
    section = Section("T", ("id", "reason"), [("a", reason), ("b", ""), ("c", None)], num_words=2, has_reason=True)
    assert as_text([section]).splitlines() == [
        "T",
        "  id",
        "  a",
        "      no verdict within 5 s; its witness fails as well (no",
        "      verdict within 5 s)\\u001b[2J",
        "  b",
        "  c",
    ]
    page = as_html("T", [section], [], []).decode()
    assert "its witness fails as well (no verdict within 5 s)" in page and "\x1b" not in page


def test_a_page_escapes_and_writes_out_what_cannot_be_seen():
    page = as_html("A & B", [TABLE], [], []).decode()
    assert "A &amp; B" in page and "&lt;i&gt;\\u001b[1m\\u202e" in page and "\u202e" not in page and "<img" not in page


def test_a_figure_takes_gaps_and_several_series():
    panel = Panel("P", [("all", [wilson(1, 2), None]), ("none", [None, None])])
    page = as_html("T", [TABLE], [panel, panel], ["a", "b"]).decode()
    assert page.count("data:image/png;base64,") == 2


def test_shares_are_written_with_their_interval():
    assert percent(None) == "-"
    assert percent(Interval(0.015, 0.004, 0.053, 130)) == "1.5 % [0.4, 5.3]"
