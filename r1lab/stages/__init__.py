"""A recipe made ready to run, and one file for each kind of stage."""
