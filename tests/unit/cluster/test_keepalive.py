"""Database connections of a cluster notice that nobody is at the other end."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection
from django.db.backends.signals import connection_created

from django_q.cluster.keepalive import (
    CONNECTS_WITHIN,
    PATIENCE,
    keep_alive,
    limit_connecting,
    watch_databases,
    watch_from_the_start,
)
from tests.proxy import ADDRESS


@pytest.fixture
def line() -> Iterator[socket.socket]:
    with (
        socket.create_server((ADDRESS, 0)) as server,
        socket.create_connection(server.getsockname()) as line,
    ):
        yield line


def connected_by(handle: Any, **options: Any) -> Any:
    """What Django's wrapper shows of a connection."""
    return SimpleNamespace(connection=handle, settings_dict={"OPTIONS": options})


def patience_of(line: socket.socket) -> dict[str, int]:
    numbers = {name: getattr(socket, name) for name in PATIENCE}
    return {n: line.getsockopt(socket.IPPROTO_TCP, o) for n, o in numbers.items()}


def is_kept_alive(line: socket.socket) -> bool:
    return bool(line.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))


def test_connection_over_tcp_is_given_up_after_a_quarter_of_a_minute(
    line: socket.socket,
) -> None:
    keep_alive(connected_by(line, sslmode="disable"))
    assert is_kept_alive(line)
    assert patience_of(line) == PATIENCE
    assert line.fileno() >= 0, "it is still the driver's"


@pytest.mark.parametrize("name", ["keepalives_idle", "keepalives", "tcp_user_timeout"])
def test_what_the_project_says_itself_stands(line: socket.socket, name: str) -> None:
    keep_alive(connected_by(line, **{name: 0}))
    assert not is_kept_alive(line)


def test_other_connections_are_left_alone() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        keep_alive(connected_by(ours))
        assert not is_kept_alive(ours)
    keep_alive(connected_by(object()))


@pytest.mark.parametrize(
    ("vendor", "options", "limit"),
    [
        ("postgresql", {}, CONNECTS_WITHIN),
        ("mysql", {"charset": "utf8mb4"}, CONNECTS_WITHIN),
        ("postgresql", {"connect_timeout": 60}, 60),
        ("postgresql", {"service": "shop"}, None),
        ("sqlite", {"timeout": 20}, None),
    ],
)
def test_connecting_has_a_limit_too(
    vendor: str, options: dict[str, Any], limit: int | None
) -> None:
    settings = {"OPTIONS": dict(options)}
    limit_connecting(SimpleNamespace(vendor=vendor, settings_dict=settings))
    assert settings["OPTIONS"].get("connect_timeout") == limit
    assert options.items() <= settings["OPTIONS"].items()


@pytest.mark.django_db
@pytest.mark.database
def test_connection_is_watched_before_the_first_question() -> None:
    other = connection.copy()
    watch_from_the_start(other)
    raw = other.get_new_connection(other.get_connection_params())
    try:
        handle = getattr(raw, "fileno", None)
        if handle is not None:
            line = socket.socket(fileno=handle())
            assert patience_of(line) == PATIENCE
            line.detach()
    finally:
        raw.close()


@pytest.mark.django_db
@pytest.mark.database
def test_each_new_connection_of_the_process_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(
        connection.settings_dict, "OPTIONS", {**connection.settings_dict["OPTIONS"]}
    )
    monkeypatch.setattr(connection, "get_new_connection", connection.get_new_connection)
    watch_databases()
    other = connection.copy()
    try:
        other.connect()
        handle = getattr(other.connection, "fileno", None)
        if handle is not None:
            line = socket.socket(fileno=handle())
            assert patience_of(line) == PATIENCE
            line.detach()
    finally:
        other.close()
        connection_created.disconnect(dispatch_uid="django_q.keepalive")
