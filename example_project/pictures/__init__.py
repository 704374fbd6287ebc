"""Pictures, painted once and resized by the workers."""
