"""Attack a verifier: completions that must not score (`r1lab.audit.families`), made of golds, judged where training
would judge them. Not rates on real completions (`r1lab.audit.audit`)."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path

from r1lab.audit.audit import Audit, broken_off, no_verdicts
from r1lab.audit.dataset import REFERENCE
from r1lab.audit.families import FAMILIES, PROBLEMS
from r1lab.audit.metamorphic import OTHER
from r1lab.audit.rates import interval, share
from r1lab.errors import RecipeError, RunError
from r1lab.recipe import WorkersConfig
from r1lab.recipe.base import Use
from r1lab.recipe.data import SourceConfig
from r1lab.report.tables import Section, percent
from r1lab.rollout import verification
from r1lab.rollout.problems import load_problems
from r1lab.run.progress import Meter
from r1lab.run.signals import terminable
from r1lab_data import Problem
from r1lab_verifiers import reference_checks
from r1lab_verifiers.plugin import needs_answer
from r1lab_verifiers.pool.blame import failure_of
from r1lab_verifiers.pool.pool import Pool
from r1lab_verifiers.verdict import Item, Verdict

SHOWN_ROWS = 40
"""Attacks that scored which a terminal shows."""
LOOK_ALIKES = str.maketrans(
    "ABCEHKMOPTXaceopxy",
    "\u0410\u0412\u0421\u0415\u041d\u041a\u041c\u041e\u0420\u0422\u0425\u0430\u0441\u0435\u043e\u0440\u0445\u0443",
)
"""Latin letters and the Cyrillic ones that look the same."""
OTHER_UNITS = {"$": "{number} cents", "%": "{number} cm", "km": "{number} m", "m": "{number} kg", "cm": "{number} s"}
# "{gold}", "{other_unit}"; not "{0}"
_FIELD = re.compile(r"\{([a-z_]+)\}")
# "\$5", "12 km", "5\%"; not "x = 5"
_MEASURED = re.compile(r"(?:\\?(\$))?(-?[0-9][0-9,.]*)(?:\s*\\?(%)|\s+([a-z]+))?")


def attack(
    source: SourceConfig | None,
    verifier: Use | None = None,
    *,
    settings: Mapping[str, object] = {},
    workers: WorkersConfig = verification.WORKERS,
) -> Audit:
    """Try every attack on every problem; without a source on some of our own. RecipeError as in `audit_golds`, RunError
    where no gold could be judged."""
    problems = own_problems() if source is None else load_problems(source, "audit", "", Path.cwd())
    spec = verifier or problems[0].verifier
    if not spec:
        raise RecipeError("--verifier: a dataset names none; give one (math, numeric, ...)")
    resolved = verification.resolve_one(spec, settings)
    if resolved.isolated:
        raise RecipeError(f"--attack: {spec!r} runs programs, and these attacks are of answers; leave it out")
    if not needs_answer(resolved):
        raise RecipeError(f"--attack: {spec!r} compares with no answer, so that anything may score; leave it out")
    name = verification.verifier_label(spec, settings)
    table = {"framed": reference_checks.framed(resolved), REFERENCE: reference_checks.reference(resolved)}
    with terminable("nothing was written"), Meter("attack") as meter, verification.opened_pool(table, workers) as pool:
        golds = ((each, [verdict]) for each, verdict in _judged(problems, _gold_alone, pool, workers, meter))
        golds = golds if source is None else broken_off(golds, [name], workers.deadline)
        judged = [(each[0], verdict) for each, (verdict,) in golds]
        usable = [problem for problem, verdict in judged if verdict.score == 1.0]
        # A gold of ours may be none for this verifier, which may then raise; one that hangs it is a fault.
        lost = ("timeout",) if source is None else ("timeout", "crash")
        without = [_row(problem, REFERENCE, "", verdict) for problem, verdict in judged if failure_of(verdict) in lost]
        if not usable:
            raise _unusable(name, [verdict for _, verdict in judged], source is None, workers.deadline)
        tried, rows = Counter[str](), []
        for (problem, family, completion), verdict in _judged(usable, attacks_on, pool, workers, meter):
            tried[family] += 1
            if failure_of(verdict):
                without.append(_row(problem, family, completion, verdict))
            elif verdict.score:
                rows.append(_row(problem, family, completion, verdict))
    not_held = Counter(row["family"] for row in (*rows, *without))
    figures = {
        "dataset": None if source is None else source.path or f"task:{source.task}",
        "verifier": name,
        "problems": len(usable),
        "unusable": len(problems) - len(usable),
        "attacks": {each: share(tried[each] - not_held[each], tried[each]) for each in FAMILIES if tried[each]},
        "scored": rows,
        "without_verdict": without,
    }
    return Audit(f"attacks on {name}", figures, _sections(figures), [], failed=len(rows) + len(without))


def _unusable(name: str, verdicts: Sequence[Verdict], is_own: bool, deadline: float) -> Exception:
    """What to raise where no gold is accepted: one of ours may be nothing for this verifier."""
    kinds = {failure_of(verdict) for verdict in verdicts}
    if "" in kinds or (is_own and "timeout" not in kinds):
        told = verification.told_failures(verdicts)
        return RecipeError(
            f"--attack: {name} accepts none of {len(verdicts)} golds; give a --dataset that it can judge"
            + (f" ({told})" if told else "")
        )
    return RunError(no_verdicts(name, f"{len(verdicts)} golds", verdicts, deadline))


Attacked = tuple[Problem, str, str]
"""A problem, a family and a completion."""


def _judged(
    problems: Sequence[Problem],
    attacks: Callable[[Problem], Iterable[tuple[str, str]]],
    pool: Pool,
    workers: WorkersConfig,
    meter: Meter,
) -> Iterator[tuple[Attacked, Verdict]]:
    """The verdict on each completion that `attacks` makes of each problem."""

    def asked() -> Iterator[tuple[Attacked, list[Future[Verdict]]]]:
        for problem in problems:
            for family, completion in attacks(problem):
                item = Item(completion, problem.answer, problem.prompt, problem.id, meta=problem.meta)
                is_reference = family == REFERENCE
                check = REFERENCE if is_reference else "framed"
                future = pool.submit(item, check, problem.solution, is_reference=is_reference)
                yield (problem, family, completion), [future]

    for each, (verdict,) in verification.verdicts_in_order(asked(), workers):
        yield each, verdict
        meter.add(has_failed=verdict.has_failed)


def _gold_alone(problem: Problem) -> list[tuple[str, str]]:
    return [(REFERENCE, "")]


def own_problems() -> list[Problem]:
    return [Problem(f"attack/{number}", prompt, answer) for number, (prompt, answer) in enumerate(PROBLEMS)]


def attacks_on(problem: Problem) -> Iterator[tuple[str, str]]:
    """Each family's completions for a problem, those left out that lack something or come to the gold itself."""
    known = fields(problem)
    for family, templates in FAMILIES.items():
        for template in templates:
            if all(known.get(name, name) for name in _FIELD.findall(template)):
                text = _FIELD.sub(lambda match: known.get(match[1]) or match[0], template)
                if text.replace("<<", "").replace(">>", "").strip() != known["gold"]:
                    yield family, text


def fields(problem: Problem) -> dict[str, str | None]:
    """What stands for each field of a template; None where the problem has nothing for it."""
    prompt = problem.prompt
    text = prompt if isinstance(prompt, str) else "\n".join(message["content"] for message in prompt)
    return {"prompt": text, **(of_gold(problem.answer.strip(), text) if isinstance(problem.answer, str) else NO_TEXT)}


def of_gold(gold: str, text: str) -> dict[str, str | None]:
    """The fields that are made of the gold answer."""
    formulas = re.findall(r"\$([^$]+)\$", text)
    letter = re.fullmatch(r"\(?([A-J])\)?", gold)
    option = letter and re.search(rf"^[ \t]*\(?{letter[1]}[.):]\s*(\S.*)$", text, re.MULTILINE)
    wrong = next((made for rule in OTHER.values() if (made := rule(gold)) and made != gold), f"{gold}x")
    is_digits = re.fullmatch(r"[0-9]+", gold)
    alike = gold.translate(LOOK_ALIKES)
    return {
        "gold": gold,
        "wrong": wrong,
        "formula": formulas[-1] if formulas and formulas[-1].strip() != gold else None,
        "every": every(gold, wrong, is_letter=letter is not None),
        "other_unit": other_unit(gold),
        "option": option[1] if option else None,
        "gold_digits": gold if is_digits else None,
        "gold_word": gold if gold.isalpha() and len(gold) > 1 else None,
        "look_alike": alike if alike != gold and gold.isalpha() else None,
    }


def every(gold: str, wrong: str, *, is_letter: bool) -> str:
    """A list of answers with the gold among them, not the last."""
    if is_letter:
        return "A, B, C, D, E"
    return ", ".join(("0", "1", wrong, gold, f"{wrong}0" if wrong[-1:].isdigit() else wrong))


def other_unit(gold: str) -> str | None:
    """The gold's number in another unit, where the gold has one."""
    match = _MEASURED.fullmatch(gold)
    unit = match and (match[1] or match[3] or match[4])
    return OTHER_UNITS[unit].format(number=match[2]) if match and unit in OTHER_UNITS else None


NO_TEXT = dict.fromkeys(of_gold("", ""))
"""Of a gold that is a mapping: attacks without it alone are tried."""


def _row(problem: Problem, family: str, completion: str, verdict: Verdict) -> dict:
    return {
        "id": problem.id,
        "family": family,
        "completion": completion,
        "answer": problem.answer,
        "score": verdict.score,
        "status": verdict.status,
        "extracted": verdict.extracted,
        "reason": verdict.reason,
    }


def _grouped(rows: Sequence[Mapping]) -> list[list]:
    """A row for each family and completion: of how many problems, the first one's name, answer and verdict."""
    equal: dict[tuple[str, str], list[Mapping]] = {}
    for row in rows:
        equal.setdefault((row["family"], row["completion"]), []).append(row)
    return [
        [*key, len(same), same[0]["id"], same[0]["answer"], same[0]["score"], same[0]["extracted"]]
        for key, same in equal.items()
    ]


def _sections(figures: Mapping) -> list[Section]:
    columns = ("family", "completion", "problems", "first", "answer", "score", "extracted")
    of_failed = ("id", "family", "completion", "answer", "status", "reason")
    attacks, left_out, failed = figures["attacks"], figures["unusable"], figures["without_verdict"]
    scored = Counter(row["family"] for row in figures["scored"])
    hung = Counter(row["family"] for row in failed)
    return [
        Section(
            f"{figures['problems']} problems, {sum(each['n'] for each in attacks.values())} attacks, "
            f"{len(figures['scored'])} scored"
            + (f", {len(failed)} checks came to no verdict" if failed else "")
            + (f"; {left_out} golds it does not accept were left out" if left_out else ""),
            ("family", "tried", "scored", "no verdict", "held"),
            [(name, each["n"], scored[name], hung[name], percent(interval(each))) for name, each in attacks.items()],
            "None of these completions answers the problem; what stands between << and >> is put as the verifier puts "
            "an answer. An attack on which the verifier hung or crashed did not hold.",
        ),
        Section(
            f"Attacks that scored: {len(figures['scored'])} (<<...>>: put as the verifier puts an answer)",
            columns,
            _grouped(figures["scored"]),
            num_words=len(columns),
            shown=SHOWN_ROWS,
        ),
        Section(
            f"Checks that hung, crashed or gave no score: {len(failed)}",
            of_failed,
            [[row[key] for key in of_failed] for row in failed],
            num_words=len(of_failed),
            shown=SHOWN_ROWS,
            has_reason=True,
        ),
    ]
