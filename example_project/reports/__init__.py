"""A report about what the clusters did, and the hook that mails it."""
