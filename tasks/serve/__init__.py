"""The champion as an OpenAI-compatible endpoint that follows the registry's alias. `app` is the door."""
