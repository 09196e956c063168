"""Worker processes that run verifiers with a deadline each, and the rule for whose fault a failure is."""
