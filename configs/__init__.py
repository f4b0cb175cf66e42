"""Every knob: the schema of an experiment, how one is loaded, and the settings of the environment."""
