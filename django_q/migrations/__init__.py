"""The tables of all releases: the first nineteen as they always were, then ours."""
