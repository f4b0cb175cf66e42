"""A teacher and a judge made of rules: the prompt an LLM would get goes in, the text it would write comes out.

They know what stands in the prompt and nothing else, and understand it by `tasks.world`. So the embedded experiment
runs the same prompts, parsers, rejection and scoring as one with a real endpoint, free of charge and offline.
"""
