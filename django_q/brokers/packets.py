"""Packets: how much MySQL and MariaDB take at once."""

from __future__ import annotations

from math import inf
from typing import Any, Final

LARGE: Final = 1024 * 1024
"""Bytes of a value from which on the server is asked: it hangs up on what is too much,
perhaps before it has said why.
"""


def packet_limit(connection: Any, size: int) -> float:
    """Bytes that a statement with a value of this size may have; infinite for small ones,
    of which the server is not asked.
    """
    if size < LARGE:
        return inf
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@max_allowed_packet")
        [limit] = cursor.fetchone()
    return int(limit)
