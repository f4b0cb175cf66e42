"""Asking through an endpoint's Batch API: sending, fetching, what is under way."""
