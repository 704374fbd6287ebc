"""Which setting chooses which broker: the table, and the choice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, cast

from django.utils.module_loading import import_string

from django_q.brokers.advice import check_text
from django_q.brokers.base import Broker
from django_q.brokers.elsewhere import open_elsewhere
from django_q.conf import Conf, get_options, options_for
from django_q.exceptions import ConfigurationError
from django_q.options import Options

USE_THE_DATABASE: Final = 'Use the database instead: Q_CLUSTER = {"orm": "default"}'


class Kind(NamedTuple):
    """A broker, and how it is asked for."""

    setting: str
    title: str
    path: str
    """Dotted path of its class."""

    is_chosen: Callable[[Options], bool]

    package: str = ""
    """The client library that it needs."""

    extra: str = ""
    """Our extra that installs it, where that has another name."""

    @property
    def lacks_package(self) -> str:
        """What to say when that is not installed."""
        return f"The {self.title} broker needs the package {self.package!r}, which is not installed."

    @property
    def remedy(self) -> str:
        """How to install it."""
        return f'Run: python -m pip install "django-q3[{self.extra or self.package}]"'


KINDS: Final = (
    Kind(
        "disque_nodes",
        "Disque",
        "django_q.brokers.disque.Disque",
        lambda o: bool(o.disque_nodes),
        package="redis",
    ),
    Kind(
        "iron_mq",
        "IronMQ",
        "django_q.brokers.ironmq.IronMQBroker",
        lambda o: bool(o.iron_mq),
    ),
    # An empty dict chooses it too: everything can come from the environment.
    Kind(
        "sqs",
        "Amazon SQS",
        "django_q.brokers.aws_sqs.Sqs",
        lambda o: isinstance(o.sqs, dict),
        package="boto3",
        extra="sqs",
    ),
    Kind("orm", "the database", "django_q.brokers.orm.ORM", lambda o: bool(o.orm)),
    Kind(
        "mongo",
        "MongoDB",
        "django_q.brokers.mongo.Mongo",
        lambda o: bool(o.mongo),
        package="pymongo",
        extra="mongo",
    ),
    Kind(
        "redis",
        "Redis",
        "django_q.brokers.redis_broker.Redis",
        lambda _: True,
        package="redis",
    ),
)
"""In the order in which they win; the last one is the default."""


def get_broker(list_key: str | None = None) -> Broker:
    """A broker for the queue `list_key`; without it, for this process's own queue.

    It is the broker that the cluster of this queue uses, and works by the settings of
    that: where ALT_CLUSTERS names another broker for it, that one. Raises
    ConfigurationError.
    """
    options = get_options()
    check_text(list_key or options.queue)
    wanted = options_for(list_key) if list_key else options
    if reaches(options, wanted):
        return load(path_of(options))(list_key=list_key)
    return open_elsewhere(load(path_of(wanted)), list_key or wanted.queue, wanted)


def reaches(ours: Options, theirs: Options) -> bool:
    """Whether packages that are sent by our settings arrive as by theirs: on the same
    broker, which is told the same about them.
    """
    if ours is theirs:
        return True
    same_retry = ours.retry == theirs.retry or not _hears_retry(ours)
    return ours.place == theirs.place and same_retry


def _hears_retry(options: Options) -> bool:
    """Whether producers say with each package how long it may be away: those of Disque
    do, and of a class of the project's own nobody knows.
    """
    return bool(options.broker_class) or choose(options).setting == "disque_nodes"


def is_elsewhere(queue: str) -> bool:
    """Whether another broker than this process's own has this queue."""
    return not reaches(get_options(), options_for(queue))


def path_of(options: Options) -> str:
    """Dotted path of the broker class that the settings ask for."""
    return options.broker_class or choose(options).path


def places() -> dict[str, list[str]]:
    """The clusters that the settings name, by their brokers: each broker under the first
    of its queues, this process's own first.
    """
    found: dict[str, list[str]] = {}
    for name in Conf.clusters:
        place = options_for(name).place
        known = (first for first in found if options_for(first).place == place)
        found.setdefault(next(known, name), []).append(name)
    return found


def choose(options: Options) -> Kind:
    """The broker that the settings ask for, unless `broker_class` names one."""
    return next(kind for kind in KINDS if kind.is_chosen(options))


def load(path: str) -> type[Broker]:
    """The broker class with this dotted path."""
    try:
        broker_class: Any = import_string(path)
    except ImportError as error:
        raise _explained(error, path) from error
    if not isinstance(broker_class, type):
        message = f"Q_CLUSTER['broker_class'] {path!r} is no class."
        raise ConfigurationError(message, hint="Name a subclass of Broker.")
    return cast("type[Broker]", broker_class)


def _explained(error: ImportError, path: str) -> ConfigurationError:
    for kind in KINDS:
        missing = (error.name or "").partition(".")[0]
        if kind.path == path and missing == kind.package:
            return ConfigurationError(
                kind.lacks_package, hint=f"{kind.remedy} {USE_THE_DATABASE}"
            )
    return ConfigurationError(f"The broker {path!r} can't be imported: {error}.")
