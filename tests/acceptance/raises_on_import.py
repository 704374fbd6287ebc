"""A module of tasks with a fault in it."""

from __future__ import annotations

raise RuntimeError("this module is broken")
