"""The front page: every example with its button, its code and its result."""
