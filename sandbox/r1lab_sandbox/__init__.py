"""Runs what may hang, crash or eat memory in processes that can be killed. Knows nothing of models or rewards."""
