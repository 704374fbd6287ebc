"""Keepalive: notices that nobody is at the other end of a database connection any more."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any, Final

from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.db.backends.signals import connection_created

PATIENCE: Final = {
    "TCP_KEEPIDLE": 5,
    "TCP_KEEPINTVL": 3,
    "TCP_KEEPCNT": 3,
    "TCP_USER_TIMEOUT": 14_000,
}
"""Seconds, tries and milliseconds until the kernel gives a connection up: 14 s. By itself
it waits for hours. A server that only takes its time answers the kernel meanwhile.
"""

CONNECTS_WITHIN: Final = 10
"""Seconds until a server counts as away that takes a connection and says nothing."""

OWN_WORDS: Final = ("keepalives", "tcp_user_timeout")
"""How the OPTIONS of a database begin that say it themselves."""

SERVERS: Final = frozenset({"postgresql", "mysql"})


def watch_databases() -> None:
    """From now on, for each connection to a database that this process opens."""
    connection_created.connect(keep_alive, dispatch_uid="django_q.keepalive")
    for alias in connections:
        # One that can't be used need not be in use.
        with suppress(ImproperlyConfigured):
            limit_connecting(connections[alias])
            watch_from_the_start(connections[alias])


def limit_connecting(connection: Any) -> None:
    """Wait no longer for a connection, unless the settings have a word on that."""
    options = connection.settings_dict["OPTIONS"]
    if connection.vendor in SERVERS and "service" not in options:
        options.setdefault("connect_timeout", CONNECTS_WITHIN)


def watch_from_the_start(connection: Any) -> None:
    """The first questions are asked before Django tells of the connection, and their
    answers may never come.
    """
    connect = connection.get_new_connection

    def connect_and_watch(parameters: Any) -> Any:
        line = connect(parameters)
        _keep_alive(line, connection.settings_dict["OPTIONS"])
        return line

    connection.get_new_connection = connect_and_watch


def keep_alive(connection: Any, **_signal: Any) -> None:
    """Tell the kernel of the connections of all other threads."""
    _keep_alive(connection.connection, connection.settings_dict["OPTIONS"])


def _keep_alive(line_of_driver: Any, options: dict[str, Any]) -> None:
    """Where the connection is no socket of TCP, it needs no telling."""
    handle = getattr(line_of_driver, "fileno", None)
    if handle is None or any(name.startswith(OWN_WORDS) for name in options):
        return
    with suppress(OSError):
        line = socket.socket(fileno=handle())
        try:
            _set_patience(line)
        finally:
            # It is the driver's.
            line.detach()


def _set_patience(line: socket.socket) -> None:
    if line.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in PATIENCE.items():
        # Not every system has all of them.
        if hasattr(socket, name):
            line.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
