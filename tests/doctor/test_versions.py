"""The remedy for what is missing fits the way r1lab was installed."""

import importlib.metadata

import pytest

from r1lab.doctor import versions


class Installed:
    def __init__(self, url: str | None):
        self.url = url

    def read_text(self, name: str) -> str | None:
        return f'{{"url": "{self.url}"}}' if self.url else None


@pytest.mark.parametrize(("url", "command"), [
    (None, "install 'r1lab[trackers]'"),  # from the package index
    ("file:///tmp/r1lab-0.2.0-py3-none-any.whl", "install '/tmp/r1lab-0.2.0-py3-none-any.whl[trackers]'"),
    ("file:///home/me/r1lab", "install '/home/me/r1lab[trackers]'"),  # pip install . of a checkout
])  # fmt: skip
def test_an_installed_package_is_installed_again_from_where_it_came(monkeypatch, tmp_path, url, command):
    monkeypatch.setattr(versions, "ROOT", tmp_path)
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Installed(url))
    assert versions.install("trackers") == f"{versions.pip()} {command}"


def test_a_checkout_is_installed_again_as_one_from_wherever_one_stands(monkeypatch, tmp_path):
    (tmp_path / "pyproject.toml").write_text("")
    monkeypatch.setattr(versions, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert versions.install("lora") == f"{versions.pip()} install -e '.[lora]'"
    (tmp_path / "below").mkdir()
    monkeypatch.chdir("below")
    assert versions.install("lora") == f"cd {tmp_path} && {versions.pip()} install -e '.[lora]'"
