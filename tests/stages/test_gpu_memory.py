"""Whether a recipe fits a GPU: the table adds up, and what is said to fit does."""

import re

import pytest

from r1lab.errors import RecipeError
from r1lab.recipe import load
from r1lab.stages import dry_run as outline
from r1lab.stages import gpu_memory
from r1lab_data.problem import DataError


@pytest.fixture(autouse=True)
def no_hub(monkeypatch):
    def probe(path):
        raise DataError(f"{path}: no hub")

    monkeypatch.setattr(outline, "probe", probe)


SAMPLED = "rejection_sft stages.samples_1.data.size=400 stages.samples_2.data.size=400 eval.sets.held_out.size=64"


def dry_run(command, processes=1, device="h200") -> str:
    recipe, *overrides = command.split()
    return outline.dry_run(load.resolve(*load.read(recipe, overrides)), processes, device=device)


def table(text):
    """Rows of the first table: purpose -> GiB while learning and sampling."""
    rows = re.findall(r"^    (\w[\w ]*?) +(-|[\d.]+) +(-|[\d.]+)$", text, re.MULTILINE)  # "    sum   60.1   55.9"
    return {name: [0.0 if size == "-" else float(size) for size in sizes] for name, *sizes in rows}


@pytest.mark.parametrize(
    "command, fits",
    [
        ("dapo_qwen2.5_32b", False),
        ("simplerl_zoo", False),
        ("oat_zero", False),
        ("simplerl_zoo model=Qwen/Qwen2.5-1.5B", True),
        ("tinyzero_countdown", None),
    ],
)
def test_the_recipes_for_gpus_have_a_table_that_adds_up_and_a_verdict(command, fits):
    text = dry_run(command)
    rows = table(text)
    sums = rows.pop("sum")
    for phase in (0, 1):
        assert sums[phase] == pytest.approx(sum(sizes[phase] for sizes in rows.values()), abs=0.06 * len(rows))
    assert "memory on h200 (139.8 GiB), estimated GiB:" in text
    if fits is not None:
        assert ("it fits" in text) == fits and ("it does not fit: " in text) == (not fits)


@pytest.mark.parametrize("command", ["simplerl_zoo", "oat_zero"])
def test_what_is_said_to_fit_seven_billion_weights_does(command):
    (line,) = [line for line in dry_run(command).splitlines() if line.startswith("  what fits: ")]
    remedies = line.removeprefix("  what fits: ").split("; or ")
    assert any("lora=" in each for each in remedies) and any("--processes" in each for each in remedies)
    for remedy in remedies:
        words = remedy.replace("{rank: 16}", "{rank:16}").split()
        processes = int(words.pop(words.index("--processes") + 1)) if "--processes" in words else 1
        words = [word.replace("{rank:16}", "{rank: 16}") for word in words if word != "--processes"]
        recipe = load.resolve(*load.read(command, words))
        assert "it fits" in outline.dry_run(recipe, processes, device="h200"), remedy


def test_a_share_that_holds_no_weights_is_told_of():
    text = dry_run("simplerl_zoo model=Qwen/Qwen2.5-1.5B engine.gpu_memory_utilization=0.02")
    assert "it does not fit: vLLM's share (0.02 of the card, 2.8 GiB) is less than" in text
    assert "what fits: engine.gpu_memory_utilization=" in text


def test_a_small_model_fits_a_small_card_and_stages_that_only_sample_have_a_table():
    text = dry_run(SAMPLED, device="T4")
    assert text.count("it fits") >= 2 and "memory on t4 (14.6 GiB)" in text


def test_a_card_is_one_of_the_table_or_the_one_at_hand():
    with pytest.raises(RecipeError, match="--device: 'h300' is not known; use one of t4, "):
        gpu_memory.card_of("h300")
    assert gpu_memory.card_of(None) is None  # the tests have none
    assert "memory, estimated GiB: " in dry_run(SAMPLED, device=None)
