"""Which setting chooses which broker: the table, and the choice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from django.utils.module_loading import import_string

from django_q.brokers.base import Broker
from django_q.conf import get_options
from django_q.exceptions import ConfigurationError
from django_q.options import Options

USE_THE_DATABASE: Final = 'Use the database instead: Q_CLUSTER = {"orm": "default"}'


class Kind(NamedTuple):
    """A broker, and how it is asked for."""

    setting: str
    title: str
    path: str | None
    """Dotted path of its class; None: not in this release."""

    is_chosen: Callable[[Options], bool]


KINDS: Final = (
    Kind("disque_nodes", "Disque", None, lambda o: bool(o.disque_nodes)),
    Kind("iron_mq", "IronMQ", None, lambda o: bool(o.iron_mq)),
    # An empty dict chooses it too: everything can come from the environment.
    Kind("sqs", "Amazon SQS", None, lambda o: isinstance(o.sqs, dict)),
    Kind("orm", "the database", "django_q.brokers.orm.ORM", lambda o: bool(o.orm)),
    Kind("mongo", "MongoDB", None, lambda o: bool(o.mongo)),
    Kind("redis", "Redis", None, lambda _: True),
)
"""In the order in which they win; the last one is the default."""


def get_broker(list_key: str | None = None) -> Broker:
    """A broker for the queue `list_key`; without it, for this process's own queue.

    Raises ConfigurationError.
    """
    options = get_options()
    path = options.broker_class or _path_of(choose(options), options)
    return load(path)(list_key=list_key)


def choose(options: Options) -> Kind:
    """The broker that the settings ask for, unless `broker_class` names one."""
    return next(kind for kind in KINDS if kind.is_chosen(options))


def load(path: str) -> type[Broker]:
    """The broker class with this dotted path."""
    try:
        broker_class: type[Broker] = import_string(path)
    except ImportError as error:
        message = f"The broker {path!r} can't be imported: {error}."
        raise ConfigurationError(message) from error
    return broker_class


def _path_of(kind: Kind, options: Options) -> str:
    if kind.path is not None:
        return kind.path
    asked = f"Q_CLUSTER[{kind.setting!r}] asks for {kind.title}"
    if getattr(options, kind.setting) is None:
        asked = f"Q_CLUSTER names no broker, which asks for {kind.title}"
    message = (
        f"{asked}. This release carries the ORM broker, and one in memory for tests."
    )
    raise ConfigurationError(message, hint=USE_THE_DATABASE)
