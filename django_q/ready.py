"""Ready: a client of Redis that the settings hold as it is, connected or not."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import getitem
from typing import Any

from django.conf import settings


class ReadyClient:
    """Gives the client when it is called.

    A client can't be sent to another process. That finds its own at the same place in the
    settings, which it has read as well.
    """

    def __init__(self, client: Any, *place: str) -> None:
        self.client = client
        self.place = place

    def __call__(self) -> Any:
        return self.client

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ReadyClient) and self.client is other.client

    def __hash__(self) -> int:
        return id(self.client)

    def __repr__(self) -> str:
        return f"<a ready {type(self.client).__name__}>"

    def __reduce__(self) -> tuple[Any, ...]:
        if not self.place:
            message = "A client that is not in the settings can't be sent to a process."
            raise TypeError(message)
        return find_ready, self.place


def find_ready(*place: str) -> ReadyClient:
    """What stands at this place of Q_CLUSTER."""
    return ReadyClient(reduce(getitem, place, settings.Q_CLUSTER), *place)


def is_client(value: Any) -> bool:
    """Whether this is a client, and not a function that gives one."""
    return hasattr(value, "execute_command")


def wrap_clients(setting: Any, *place: str) -> Any:
    """The same setting, with a client in it or in place of it made ready."""
    if is_client(setting):
        return ReadyClient(setting, *place)
    if isinstance(setting, Mapping) and is_client(setting.get("client")):
        return {**setting, "client": ReadyClient(setting["client"], *place, "client")}
    return setting
