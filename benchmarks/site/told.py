"""Told: what the benchmark says to the programs that it starts, by environment."""

from __future__ import annotations

import json
import os
from typing import Any, Final

VARIABLE: Final = "DJANGO_Q_BENCHMARK"

TOLD: Final[dict[str, Any]] = json.loads(os.environ.get(VARIABLE, "{}"))
OPTIONS: Final[dict[str, Any]] = TOLD.get("options", {})
HOST: Final = "127.0.0.1"


def redis_url(database: int = 0) -> str:
    return f"redis://{HOST}:{TOLD['redis_port']}/{database}"
