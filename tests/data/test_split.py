"""Parts of a dataset: by what is asked, whatever the numbers and the order."""

import pytest

from r1lab_data import DataError, Problem
from r1lab_data.split import distinct, part


def asked(*texts):
    return [Problem(id=f"s/{number}", prompt=text, answer="1") for number, text in enumerate(texts)]


MANY = asked(*(f"How many {thing} are {n} {thing} and 2 more?" for thing in "abcdefghijklmnopqrst" for n in (3, 4)))


def test_rows_keeps_all_text_and_template_the_first_of_each():
    problems = asked("Add 3 and 4.", "add 3  and 4", "Add 5 and 6.", "Take 3 from 4.")
    assert distinct(problems, "rows") == problems
    assert [p.id for p in distinct(problems, "text")] == ["s/0", "s/2", "s/3"]
    assert [p.id for p in distinct(problems, "template")] == ["s/0", "s/3"]


def test_the_two_parts_share_no_template_and_lose_no_problem():
    rest, held = (part(MANY, holdout=0.4, take=take) for take in ("rest", "held_out"))
    assert sorted(p.id for p in rest + held) == sorted(p.id for p in MANY)
    assert len(held) % 2 == 0 and 0.1 * len(MANY) < len(held) < 0.7 * len(MANY)
    assert not {p.prompt[9] for p in rest} & {p.prompt[9] for p in held}


def test_a_problems_part_depends_on_its_own_text_alone():
    held = {p.prompt for p in part(MANY, holdout=0.4, take="held_out")}
    fewer = part(MANY[::-3], holdout=0.4, take="held_out")
    assert {p.prompt for p in fewer} == held & {p.prompt for p in MANY[::-3]}


def test_a_larger_share_holds_out_the_same_and_more():
    small, large = ({p.id for p in part(MANY, holdout=share, take="held_out")} for share in (0.3, 0.6))
    assert small < large


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: part(MANY, holdout=1.0, take="rest"), "1.0 is no share between 0 and 1"),
        (lambda: part(MANY, holdout=0.5, take="test"), "'test' is none of rest, held_out"),
        (lambda: part(MANY, holdout=1e-12, take="held_out"), "leaves no problem in the part 'held_out'"),
        (lambda: distinct(MANY, "id"), "'id' is none of rows, text, template"),
    ],
)
def test_nonsense_is_refused(make, message):
    with pytest.raises(DataError, match=message):
        make()


def test_by_text_single_problems_are_held_out_and_equal_ones_stay_together():
    rest, held = (part(MANY + asked("How many a are 3 a and 2 more?"), holdout=0.4, take=take, by="text")
                  for take in ("rest", "held_out"))  # fmt: skip
    assert len(rest) + len(held) == len(MANY) + 1 and 0.2 * len(MANY) < len(held) < 0.6 * len(MANY)
    assert {p.prompt[9] for p in rest} & {p.prompt[9] for p in held}
    assert not {p.prompt for p in rest} & {p.prompt for p in held}


def test_data_of_one_template_is_told_how_it_can_be_split():
    sums = asked(*(f"{number}+{number + 1}=" for number in range(40)))
    takes = {"rest", "held_out"}
    with pytest.raises(DataError, match=r"the 40 problems are 1 template, .* alone; hold out .* holdout_by: text"):
        [part(sums, holdout=0.3, take=take) for take in takes]
    assert sum(len(part(sums, holdout=0.3, take=take, by="text")) for take in takes) == 40
    with pytest.raises(DataError, match="holdout_by: 'row' is none of template, text"):
        part(sums, holdout=0.3, take="rest", by="row")
