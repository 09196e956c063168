"""Servers and trainers of one run over the machines of a Ray cluster: `placement`, `actor`, `driver`."""
