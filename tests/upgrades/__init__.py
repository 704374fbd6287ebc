"""Rehearsals: sites of older releases move to this one; both work side by side.

`python -m tests.upgrades` installs the older releases, so it needs a network and is no
part of the other tests. What it showed once is kept in tests/contract_q/recorded.
"""
