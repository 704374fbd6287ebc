"""Benchmarks: this package beside other task queues, on the same work, on one machine."""
