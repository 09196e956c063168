"""Pushing refuses in one line what is not whole, and sends the model's folder alone."""

import json
import shutil
import sys

import pytest
from huggingface_hub import HfApi

from r1lab import embedded
from r1lab.cli import main as cli
from r1lab.errors import RecipeError, RunError
from r1lab.hub import push


class Hub:
    """As much of huggingface_hub.HfApi as is used; `error` is raised by the upload."""

    def __init__(self, error=None, private=True):
        self.error, self.private, self.calls = error, private, []

    def create_repo(self, repo_id, **settings):
        self.calls.append(("create", repo_id, settings["private"]))
        return f"https://huggingface.co/{repo_id}"

    def repo_info(self, repo_id):
        return self

    def upload_folder(self, *, repo_id, folder_path, ignore_patterns, **_):
        if self.error:
            raise self.error
        self.calls.append(("upload", repo_id, folder_path))


@pytest.fixture
def run(tmp_path):
    """A finished run's folder."""
    folder = tmp_path / "run"
    shutil.copytree(embedded.path(), folder / "model")
    (folder / "manifest.json").write_text(json.dumps({"finished": True}))
    (folder / "metrics.jsonl").write_text("{}\n")
    return folder


@pytest.fixture
def command(monkeypatch, capsys):
    """r1lab push with these arguments: (exit code, stdout, stderr)."""

    def call(*arguments) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["r1lab", "push", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return (end.value.code, *capsys.readouterr())

    return call


BREAKS = {
    "unfinished": (lambda run: (run / "manifest.json").write_text('{"finished": false}'), "is not finished"),
    "a torn manifest": (lambda run: (run / "manifest.json").write_text("{"), "cannot be read"),
    "no model": (lambda run: shutil.rmtree(run / "model"), "is no folder"),
    "no config": (lambda run: (run / "model" / "config.json").unlink(), "has no config.json"),
    "no weights": (lambda run: (run / "model" / "model.safetensors").unlink(), "lacks weights"),
    "a shard short": (
        lambda run: (run / "model" / "model.safetensors.index.json").write_text('{"weight_map": {"a": "b-2.bin"}}'),
        "lacks weights (b-2.bin)",
    ),
    "a checkpoint": (lambda run: (run / "model" / "state.pt").touch(), "is a checkpoint"),
    "a link out of it": (lambda run: (run / "model" / "notes.txt").symlink_to(run / "metrics.jsonl"), "is a link to"),
    "no tokenizer": (lambda run: [path.unlink() for path in (run / "model").glob("tokenizer*")], "has no tokenizer"),
}


@pytest.mark.parametrize("fault", BREAKS)
def test_what_is_not_whole_is_refused_in_one_line_with_exit_2(run, command, fault):
    damage, expected = BREAKS[fault]
    damage(run)
    code, said, error = command(run, "org/name", "--dry-run")
    assert (code, said, error.count("\n")) == (2, "", 1) and expected in error


def with_code(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "org/name--evil.Model"}}))


CODE = {
    "a file": (lambda folder: (folder / "evil.py").touch(), "(evil.py)"),
    "a file in a folder": (
        lambda folder: [(folder / "sub").mkdir(), (folder / "sub" / "evil.py").touch()],
        "(sub/evil.py)",
    ),
    "a configuration that names some": (with_code, "(evil.py)"),
    "a tokenizer that names some": (
        lambda folder: (folder / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": ["evil.T"]}}'),
        "(evil.py)",
    ),
}


@pytest.mark.parametrize("form", CODE)
def test_code_goes_along_only_where_somebody_vouches_for_it(run, command, form):
    bring, told = CODE[form]
    bring(run / "model")
    for path in (run, run / "model"):
        code, said, error = command(path, "org/name", "--dry-run")
        assert (code, said, error.count("\n")) == (2, "", 1) and told in error and "--trust-remote-code" in error
    assert command(run, "org/name", "--dry-run", "--trust-remote-code")[0] == 0


def test_hidden_files_are_no_code_that_goes_along(run, command):
    (run / "model" / ".cache").mkdir()
    (run / "model" / ".cache" / "made.py").touch()
    assert command(run, "org/name", "--dry-run")[0] == 0


@pytest.mark.parametrize("repo_id", ["name", "a/b/c", "org/", "/name", "org/na me", "org/name.git", "https://x/y"])
def test_what_is_no_repository_is_refused(run, command, repo_id):
    code, _, error = command(run, repo_id, "--dry-run")
    assert (code, error.count("\n")) == (2, 1) and "give org/name" in error


def test_without_a_token_nothing_is_tried(run, command, monkeypatch):
    monkeypatch.setattr(push, "get_token", lambda: None)
    monkeypatch.setattr(push, "HfApi", lambda: pytest.fail("the hub was asked"))
    code, _, error = command(run, "org/name")
    assert (code, error.count("\n")) == (2, 1) and "hf auth login" in error


def test_a_hub_that_cannot_be_reached_is_exit_1(run, command, monkeypatch):
    monkeypatch.setattr(push, "get_token", lambda: "hf_token")
    monkeypatch.setattr(push, "HfApi", lambda: Hub(ConnectionError("no route\nto host")))
    code, _, error = command(run, "org/name")
    assert (code, error.count("\n")) == (1, 1) and "no route to host" in error and "hf_token" not in error


def test_the_hubs_own_client_without_a_hub_is_exit_1(run, command, monkeypatch):
    monkeypatch.setattr(push, "get_token", lambda: "hf_token")
    monkeypatch.setattr(push, "HfApi", lambda: HfApi(endpoint="http://127.0.0.1:9", token="hf_token"))
    code, _, error = command(run, "org/name")
    assert (code, error.count("\n")) == (1, 1) and "was not uploaded" in error


def test_the_hubs_own_client_offline_is_exit_1(run, command, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(push, "get_token", lambda: "hf_token")
    code, _, error = command(run, "org/name")
    assert (code, error.count("\n")) == (1, 1), error


def test_a_dry_run_lists_every_file_and_its_size_and_needs_no_token(run, command, monkeypatch):
    monkeypatch.setattr(push, "HfApi", lambda: pytest.fail("the hub was asked"))
    (run / "model" / ".cache").mkdir()
    (run / "model" / ".cache" / "x").write_text("x")
    code, said, _ = command(run, "org/name", "--dry-run")
    files = {path.name: path.stat().st_size for path in (run / "model").iterdir() if path.is_file()}
    assert code == 0 and "nothing was sent" in said and ".cache" not in said
    assert all(f"{size:,}  {name}\n" in said for name, size in files.items())
    assert len(said.splitlines()) == len(files) + 1
    assert (
        "for org/name; nothing" in said
        and "for org/name, private; nothing" in command(run, "org/name", "--dry-run", "--private")[1]
    )


def test_only_the_models_folder_is_uploaded_of_a_run_or_of_its_model(run):
    for path in (run, run / "model"):
        hub = Hub()
        assert push.push(path, "org/name", private=True, api=hub) == ["https://huggingface.co/org/name"]
        assert hub.calls == [("create", "org/name", True), ("upload", "org/name", run / "model")]


def test_a_public_repository_is_not_uploaded_to_where_a_private_one_was_asked_for(run):
    hub = Hub(private=False)
    with pytest.raises(RecipeError, match="is there and public"):
        push.push(run, "org/name", private=True, api=hub)
    assert [call[0] for call in hub.calls] == ["create"]


def test_the_model_of_a_run_that_goes_on_is_refused_also_by_its_own_folder(run):
    (run / "manifest.json").write_text('{"finished": false}')
    with pytest.raises(RecipeError, match="is not finished"):
        push.push(run / "model", "org/name", dry_run=True)


def test_an_upload_that_breaks_off_is_a_run_error(run):
    with pytest.raises(RunError, match="was not uploaded"):
        push.push(run, "org/name", api=Hub(OSError("broken pipe")))
