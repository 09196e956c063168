"""A run on disk: its folder, manifest, checkpoints, journal of rollouts, metrics and progress."""
