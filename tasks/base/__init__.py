"""Stage base: the vision tower and the language model that LLaVA connects."""
