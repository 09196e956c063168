"""What this machine can do, and for each thing missing or broken the remedy."""
