"""A mistake that needs no model is told of before torch, transformers or another heavy library is loaded."""

import json
import re
import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "datasets", "accelerate", "matplotlib", "scipy", "sympy", "huggingface_hub", "vllm")
RECIPE = {"data": {"task": "addition"}, "steps": 1, "eval": {"sets": {"test": {"task": "addition", "split": "eval"}}}}
OTHER = {"name": "other", "data": {"path": "rows.jsonl", "columns": {"prompt": "question"}}, "verifier": "exact"}
CASES = [
    ("train recipe.yaml learning_rat=1", "learning_rate"),
    ("train recipe.yaml num_generations=8", "group_size"),
    ("train recipe.yaml --processes 2 learning_rat=1", "learning_rate"),
    ("train nowhere.yaml", "is no file and none that ships"),
    ("train recipe.yaml objective.preset=gppo", "did you mean 'grpo'"),
    ("train recipe.yaml objective.advantage=zscor", "did you mean 'zscore'"),
    ("train recipe.yaml objective.kl.estimator=k9", "k9"),
    ("train recipe.yaml verifier=numerik", "did you mean 'numeric'"),
    ("train recipe.yaml engine=locl", "did you mean 'local'"),
    ("train recipe.yaml 'reward={score: 1, lenght: 0.1}'", "did you mean 'length'"),
    ("train recipe.yaml data.task=adition", "did you mean 'addition'"),
    ("train recipe.yaml model=no-such-model", "'no-such-model' is neither"),
    ("train recipe.yaml prompt.format=Q:", "put the text in quotes"),
    ("train recipe.yaml eval.keep_best=eval/tset/avg", "is not evaluated"),
    ("train recipe.yaml group_size=1", "use group_size >= 2"),
    ("train other.yaml steps=1 data.columns.answer=reply", "reply"),
    ("train other.yaml steps=1 data.path=nowhere.jsonl", "nowhere.jsonl"),
    ("train recipe.yaml objective.preset=gppo --dry-run", "did you mean 'grpo'"),
    ("eval embedded --on gsm8", "did you mean 'gsm8k'"),
    ("eval embedded --on nowhere.jsonl --verifier exact", "nowhere.jsonl"),
    ("eval embedded --on rows.jsonl --verifier exat --columns prompt=question", "did you mean 'exact'"),
    ("eval nowhere --on addition", "'nowhere' is neither"),
    ("eval embedded --on addition --n 0", "--n"),
    ("eval --on addition --completions nowhere.jsonl", "nowhere.jsonl"),
    ("probe embedded --recipe nowhere", "is no file and none that ships"),
    ("probe nowhere --on addition", "'nowhere' is neither"),
    ("convert trl nowhere.yaml", "nowhere.yaml"),
    ("convert verll recipe.yaml", "did you mean 'verl'"),
    ("convert verl recipe.yaml", "no override such as"),
    ("verify nowhere.jsonl --verifier exact", "nowhere.jsonl"),
    ("verify rows.jsonl --verifier exat", "did you mean 'exact'"),
    ("audit nowhere.jsonl --verifier exact", "nowhere.jsonl"),
    ("audit --dataset nowhere.jsonl --verifier exact", "nowhere.jsonl"),
    ("compare recipe.yaml", "only one regime"),
    ("compare recipe.yaml nowhere.yaml", "is no file and none that ships"),
    ("compare recipe.yaml other.yaml steps=1 verifier=numerik stop.max_tokens=9000", "did you mean 'numeric'"),
    ("report nowhere", "nowhere"),
    ("push nowhere org/name", "nowhere is no folder"),
    ("methods gpro", "did you mean 'grpo'"),
    ("models get smolm2 there", "did you mean 'smollm2'"),
    ("quickstart learning_rat=1", "learning_rate"),
]
CHILD = """
import json, shlex, sys
from r1lab.cli.main import app
from r1lab.errors import RecipeError
for line, _ in json.loads(sys.stdin.read()):
    try:
        app(args=shlex.split(line), standalone_mode=False)
        said = "nothing was refused"
    except RecipeError as error:
        said = str(error)
    loaded = [name for name in sys.argv[1:] if name in sys.modules]
    print(json.dumps([said, loaded]), flush=True)
    for name in loaded:
        del sys.modules[name]
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What each command of CASES said, and which heavy libraries it had loaded by then: all in one process."""
    folder = tmp_path_factory.mktemp("light")
    (folder / "recipe.yaml").write_text(json.dumps(RECIPE))
    (folder / "other.yaml").write_text(json.dumps(OTHER))
    (folder / "rows.jsonl").write_text(json.dumps({"question": "1+1", "answer": "2", "completion": "2"}) + "\n")
    child = subprocess.run(
        [sys.executable, "-c", CHILD, *HEAVY],
        input=json.dumps(CASES), cwd=folder, text=True, capture_output=True, timeout=120,
    )  # fmt: skip
    answers = [json.loads(line) for line in child.stdout.splitlines()]
    assert len(answers) == len(CASES), child.stderr
    return {line: answer for (line, _), answer in zip(CASES, answers, strict=True)}


@pytest.mark.parametrize(("line", "says"), CASES)
def test_a_mistake_is_told_of_before_anything_heavy_is_loaded(told, line, says):
    said, loaded = told[line]
    assert says in said and loaded == [] and "\n" not in said


NO_TORCH = """
import sys

class Stop:
    def find_spec(self, name, *_):
        if name == "torch":
            sys.exit(7)

sys.meta_path.insert(0, Stop())
sys.argv = ["r1lab", "train", *sys.argv[1:]]
from r1lab.cli.main import main
main()
"""


@pytest.mark.parametrize(("more", "says"), [
    ([], r"r1lab [0-9.]+: recipe recipe, run in runs/recipe-[0-9a-f]{12}; loading torch\n"),
    (["out=there", "name=other"], r"r1lab [0-9.]+: recipe other, run in there; loading torch\n"),
])  # fmt: skip
def test_the_first_line_of_training_comes_before_torch(more, says, tmp_path):
    (tmp_path / "recipe.yaml").write_text(json.dumps(RECIPE))
    child = subprocess.run(
        [sys.executable, "-c", NO_TORCH, "recipe.yaml", *more], cwd=tmp_path, text=True, capture_output=True, timeout=60
    )
    assert child.returncode == 7 and re.fullmatch(says, child.stderr), child.stderr


def test_a_mistake_in_training_has_no_line_before_it(command, tmp_path):
    (tmp_path / "recipe.yaml").write_text(json.dumps(RECIPE))
    code, out, err = command("train", "recipe.yaml", "learning_rat=1")
    assert (code, out) == (2, b"") and re.fullmatch(r"r1lab: learning_rat: [^\n]*\n", err)
