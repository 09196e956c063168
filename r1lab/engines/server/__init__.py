"""Rollouts from servers over HTTP: `engine` shares requests out, `fleet` tracks health and sends weights.

`client` is JSON over HTTP to one server, `connection` that server and its requests in flight, `handshake` the checks
that it must pass first; `transfer` sends weights, `worker` runs inside the server and receives them; `launch` is the
command that starts a server.
"""
