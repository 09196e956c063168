"""Programs against tests: found in the completion, run in the sandbox, compared outside."""
