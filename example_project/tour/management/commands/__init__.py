"""Commands of the tour: prepare and showcase."""
