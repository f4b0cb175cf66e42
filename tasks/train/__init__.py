"""Stages align and instruct: training on Ray workers with DeepSpeed."""
