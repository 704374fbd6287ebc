"""Faults: what goes wrong, brought about one at a time under load, and then counted.

`python -m tests.faults --broker redis,orm-pg --rows 1-14` runs rows of the fault table; a
bounded core of them is part of the other tests.
"""

from __future__ import annotations

FORMER_KEY = "only for tests, until it was rotated"
