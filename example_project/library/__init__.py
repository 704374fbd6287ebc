"""The documents of this repository, indexed and searched."""
