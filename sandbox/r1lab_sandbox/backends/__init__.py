"""Ways to start a run: namespaces of our own, bubblewrap, none."""
