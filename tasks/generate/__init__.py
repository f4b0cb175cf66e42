"""Instruction conversations: the teacher writes them from captions and boxes alone."""
