"""Rollouts from vLLM servers over HTTP: `engine` shares requests out, `fleet` keeps the servers' lives and weights.

    wire      JSON over HTTP to one server        greet     what a server must be before it is trusted
    remote    one server and what it works on     transfer  weights to a server: the sender's side
    worker    what runs inside the server         launch    the command that starts one
"""
