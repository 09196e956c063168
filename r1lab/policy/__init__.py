"""The trained model: its weights, forward passes, updates, LoRA adapters and the packing of samples into batches."""
