"""Elsewhere: a broker that works by another cluster's settings than this process."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Final, cast

from django_q.brokers.base import Broker
from django_q.conf import get_options, seen_as
from django_q.options import Options

INDIFFERENT: Final = frozenset(
    vars(Broker)[verb] for verb in ("set_stat", "get_stat", "get_stats")
)
"""Verbs that are not wrapped where a broker has them from Broker: it has no place for
vital signs then, and is known by that.
"""


class Elsewhere:
    """What a broker class gets that is to work by other settings.

    Brokers ask for the settings when they are made, and again in their verbs: when they
    connect anew, for instance. So whatever is called here sees those of the other cluster.
    """

    def __init__(
        self, list_key: str | None = None, options: Options | None = None
    ) -> None:
        self.seen_options = options or get_options()
        with seen_as(self.seen_options):
            super().__init__(list_key=list_key)  # type: ignore[call-arg]

    def __reduce__(self) -> tuple[Any, ...]:
        _, kind = type(self).__bases__
        broker = cast("Any", self)
        return open_elsewhere, (kind, broker.short_key, self.seen_options)


def open_elsewhere(kind: type[Broker], list_key: str, options: Options) -> Broker:
    """A broker of this kind, and of these settings whatever those of this process are."""
    make: Any = _elsewhere(cast("Any", kind))
    broker: Broker = make(list_key, options)
    return broker


def options_of(broker: Any) -> Options:
    """The settings by which a broker works."""
    return broker.seen_options if isinstance(broker, Elsewhere) else get_options()


@functools.lru_cache(maxsize=64)
def _elsewhere(kind: Any) -> type[Broker]:
    """A subclass under the same name, whose verbs and properties are all wrapped."""
    wrapped = {name: _wrapped(name, kind) for name in dir(kind) if name[0] != "_"}
    known = {name: value for name, value in wrapped.items() if value is not None}
    facts = {"__module__": kind.__module__, "__doc__": kind.__doc__}
    return cast("type[Broker]", type(kind.__name__, (Elsewhere, kind), known | facts))


def _wrapped(name: str, kind: type) -> Any:
    """The same verb or property, which sees the other settings; None for what is neither."""
    value = inspect.getattr_static(kind, name)
    if inspect.isfunction(value) and value not in INDIFFERENT:
        return _seeing(value)
    if isinstance(value, property) and value.fget is not None:
        return property(_seeing(value.fget), value.fset, value.fdel)
    return None


def _seeing(verb: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(verb)
    def call(self: Elsewhere, *args: Any, **kwargs: Any) -> Any:
        with seen_as(self.seen_options):
            return verb(self, *args, **kwargs)

    return call
