"""What users of the earlier releases rely on, fact by fact."""
