"""What a model came from, what came of an image, an answer or a prompt, and what of the store is still needed."""
