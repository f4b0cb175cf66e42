"""The languages that conversations can be asked for in: what a reply looks like, and what it must not say."""
