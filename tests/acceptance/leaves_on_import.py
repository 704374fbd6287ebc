"""A module of tasks that is a script, really."""

from __future__ import annotations

import sys

sys.exit(5)
