"""The engine that samples in this process with transformers' models."""
