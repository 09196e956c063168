"""Check what this machine can do, and print the remedy for each thing that is missing or broken."""
