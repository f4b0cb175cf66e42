"""Checks of replies and of whole sets of conversations, beyond the form of a reply."""
