"""Model cards, uploads to the Hugging Face hub, small models from the package index."""
