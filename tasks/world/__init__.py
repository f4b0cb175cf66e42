"""The embedded world: scenes of coloured shapes with known truth, their pictures, captions, questions and test sets.

Everything is a pure function of a seed. `scene` says what is there, `render` draws it, `captions` and `questions` talk
about it, `reading` and `facts` understand such talk from text alone, `testsets` writes official layouts.
"""
