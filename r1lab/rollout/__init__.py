"""From a problem to a scored rollout: drawing, rendering, sampling, verifying, rewarding."""
