"""Several processes: how ranks meet, who computes what, how weights are sharded, and how processes start."""
