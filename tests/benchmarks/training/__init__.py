"""Parts of the training benchmark (tests/benchmarks/train.py)."""
