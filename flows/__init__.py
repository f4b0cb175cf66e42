"""Order only: the flow that chains the stages, and the command line that starts it."""
