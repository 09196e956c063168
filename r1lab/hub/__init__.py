"""What leaves for, or comes from, the Hugging Face hub and package index: model cards, uploads, small models."""
