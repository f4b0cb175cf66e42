"""Stage evaluate: what a checkpoint can do, on ScienceQA and LLaVA-Bench, and how sure that is."""
