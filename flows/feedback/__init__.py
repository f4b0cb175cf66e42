"""Feedback on answers: where it is kept, its export as data, and its deletion."""
