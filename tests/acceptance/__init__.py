"""Tests with real clusters, each a `qcluster` command in a session of its own."""
