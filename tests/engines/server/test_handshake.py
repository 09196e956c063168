"""Everything that can be wrong with a server is one line: its URL, what is the matter, the remedy."""

import pytest

from r1lab.engines.server.client import Wire
from r1lab.engines.server.handshake import check_server


@pytest.fixture
def refused(lab, serve):
    """The one line that greeting a server gives, changed as the test likes."""

    def line(change=lambda server: None, **wire):
        server = serve()
        change(server)
        with pytest.raises(ValueError) as caught:
            check_server(Wire(server.url, **wire), lab.llama().config.to_dict())
        assert server.url in str(caught.value) and "\n" not in str(caught.value)
        return str(caught.value)

    return line


def facts(**changed):
    return lambda server: server.facts.update(changed)


def config(**changed):
    return lambda server: server.facts["config"].update(changed)


def test_a_good_server_says_what_it_is(lab, serve):
    server = serve()
    found = check_server(Wire(server.url), lab.llama().config.to_dict())
    assert found.model == "served" and found.context == 128 and found.config["hidden_size"] == 64


def test_what_is_no_vllm_server(refused):
    def routes(server):
        server.replies["/version"] = (404, {"detail": "Not Found"})

    assert "is not a vLLM server (/version: 404 Not Found); start it with: r1lab serve" in refused(routes)
    assert "is not a vLLM server" in refused(lambda server: server.replies.update({"/version": (200, ["x"])}))


def test_one_without_the_routes_or_the_extension(refused):
    assert "takes no weights" in refused(lambda server: server.replies.update({"/collective_rpc": (404, {})}))
    assert "without r1lab's worker extension" in refused(lambda server: setattr(server, "names", ()))
    closed = (403, {"error": {"message": "Scale-out endpoints are disabled."}})
    assert "does not take token ids (Scale-out endpoints are disabled.)" in refused(
        lambda server: server.replies.update({"/inference/v1/generate": closed})
    )


def test_one_started_otherwise(refused):
    assert "takes weights by 'ipc', not by r1lab_file" in refused(facts(transfer="ipc"))
    assert "reports raw_logprobs" in refused(facts(logprobs_mode="raw_logprobs"))


def test_one_that_needs_a_key(refused, monkeypatch):
    def locked(server):
        server.key = "secret"

    assert "needs a key: put it into an environment variable and name that in engine.key_env" in refused(locked)
    assert "the environment variable 'THE_KEY' (engine.key_env) is not set" in refused(locked, key_env="THE_KEY")
    monkeypatch.setenv("THE_KEY", "wrong")
    assert "refuses the key in 'THE_KEY'" in refused(locked, key_env="THE_KEY")


def test_a_key_that_fits(lab, serve, monkeypatch):
    server = serve()
    server.key = "secret"
    monkeypatch.setenv("THE_KEY", "secret")
    assert check_server(Wire(server.url, key_env="THE_KEY"), lab.llama().config.to_dict()).model == "served"


def test_another_model_and_another_shape(refused):
    assert "serves another model: 'served' is a qwen2, the policy is a llama" in refused(config(model_type="qwen2"))
    line = refused(config(hidden_size=2048))
    assert "'served' has hidden_size 2048, the policy has 64; serve the model that the recipe names" in line
