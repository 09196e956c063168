"""The table of engines and what publishing does."""

import sys
from types import SimpleNamespace

import pytest
import torch

from r1lab import engines
from r1lab.engines.local.engine import LocalEngine
from r1lab.engines.sync import send


class Fake:
    """A plug-in, as far as these tests need one."""

    def __init__(self, model, tokenizer, **settings):
        self.made_of, self.version, self.synced = (model, tokenizer, settings), -1, []

    def wake(self):
        pass

    def sync(self, named_tensors, version):
        self.synced.append(dict(named_tensors))
        self.version = version


def test_a_dotted_path_is_a_plug_in_and_gets_its_settings(monkeypatch):
    monkeypatch.setitem(sys.modules, "mine", SimpleNamespace(Fake=Fake))
    engine = engines.make("mine:Fake", "model", "tokenizer", speed=3)
    assert engine.made_of == ("model", "tokenizer", {"speed": 3})


def test_an_unknown_engine_is_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match="did you mean 'local'"):
        engines.make("locl", None, None)
    with pytest.raises(ValueError, match="nowhere:Engine"):
        engines.make("nowhere:Engine", None, None)


def test_the_table_names_classes_by_path():
    assert engines.resolve("auto") == "local" and engines.resolve("my.pkg:Engine") == "my.pkg:Engine"
    assert engines.ENGINES["local"] == f"{LocalEngine.__module__}:{LocalEngine.__name__}"


def test_weights_travel_only_when_the_version_changed():
    engine, weights = Fake(None, None), {"w": torch.ones(1)}
    assert [send(engine, lambda: weights.items(), version) for version in (0, 0, 1, 1)] == [True, False, True, False]
    assert engine.synced == [weights, weights] and engine.version == 1


def test_an_engine_that_takes_adapters_gets_the_weights_below_once():
    engine, trainer = Fake(None, None), SimpleNamespace(named_parts=lambda with_base: {"base": with_base}.items())
    merged = {"merged": None}
    engine.takes_adapter, engine.has_own_layout = True, False
    for version in (3, 4):
        send(engine, merged.items, version, trainer)
    engine.takes_adapter = False
    send(engine, merged.items, 5, trainer)
    assert engine.synced == [{"base": True}, {"base": False}, merged]
