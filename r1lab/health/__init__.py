"""What goes wrong in training, found in a run's metrics: rules with a remedy each, and what applies them."""
