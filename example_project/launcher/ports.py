"""Ports of this machine, on 127.0.0.1 only."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from collections.abc import Iterator

HOST = "127.0.0.1"
TRIED = 100
FINE = 200


def free_ports(first: int) -> Iterator[int]:
    """That port and the next ones, as far as they are free."""
    return filter(is_free, range(first, min(first + TRIED, 65536)))


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As the web server does: a port that was just left counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def status_of(url: str) -> int | None:
    """The status with which a page comes from there; None when nobody answers."""
    # Never through a proxy: this is our own machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=10) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return None
