"""Stage register: the model into the registry, the gate's decision on it, and the alias of the champion."""
