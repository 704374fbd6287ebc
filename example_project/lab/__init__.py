"""Small experiments: sums, failures, retries, progress, a schedule."""
