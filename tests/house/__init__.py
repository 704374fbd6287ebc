"""The house itself: what holds for all of its rooms."""
