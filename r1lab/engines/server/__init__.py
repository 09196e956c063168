"""Rollouts from vLLM servers over HTTP: `engine` shares requests out, `fleet` keeps the servers' lives and weights.

`wire` is JSON over HTTP to one server, `remote` that server and what it works on, `greet` what it must be before it is
trusted; `transfer` sends weights, `worker` runs inside the server and receives them, `scorer` helps to prove that they
arrived; `launch` is the command that starts a server.
"""
