"""The client of MongoDB: made as the settings say, and its errors in our words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from pymongo import MongoClient, ReadPreference
from pymongo import errors as mongo_errors
from pymongo.collection import Collection
from pymongo.database import Database

from django_q.brokers.advice import about_certificate, odd_name
from django_q.brokers.registry import USE_THE_DATABASE
from django_q.exceptions import (
    BrokerError,
    BrokerUnavailable,
    ConfigurationError,
    PackageTooLarge,
)
from django_q.logs import clean
from django_q.options import Options

Document = dict[str, Any]

PATIENCE: Final = {
    "serverSelectionTimeoutMS": 10_000,
    "connectTimeoutMS": 5_000,
    "socketTimeoutMS": 20_000,
}
"""How long the client waits, unless the settings say otherwise; by itself it would wait
half a minute for a server and for ever for an answer.
"""

FORBIDDEN: Final = frozenset({13, 18, 8000})
"""Codes of a server that does not know us, or that does not allow it."""

LONGEST_NAME: Final = 255
"""Bytes of a collection's name with that of its database."""

DUPLICATE: Final = 11000

TOO_LARGE: Final = frozenset({10334, 17419, 17420})

OUTAGES: Final = (
    mongo_errors.ConnectionFailure,
    mongo_errors.ExecutionTimeout,
    mongo_errors.WTimeoutError,
    mongo_errors.WriteConcernError,
)
"""What passes when the server is well again; the rest is a refusal."""


class MongoUnavailable(BrokerUnavailable, mongo_errors.ConnectionFailure):
    """MongoDB can't be reached. Also the client's own error, which projects catch."""

    def __init__(self, message: str = "", *, hint: str = "") -> None:
        BrokerUnavailable.__init__(self, message, hint=hint)
        # What the client asks of its errors.
        self._message = str(self)
        self._error_labels = set[str]()


def connect(options: Options) -> MongoClient[Document]:
    """A client that has not connected yet."""
    given = options.mongo or {}
    # A keyword would win over the same option of a URI.
    in_uri = str(given.get("host", "")).lower()
    ours = {k: v for k, v in PATIENCE.items() if k.lower() not in in_uri}
    keywords = {**ours, "connect": False, **given}
    try:
        return MongoClient(**keywords)
    except (mongo_errors.PyMongoError, TypeError, ValueError) as error:
        message = f"Q_CLUSTER['mongo'] is refused by the client: {clean(error)}."
        raise ConfigurationError(message, hint="Correct it.") from error


def open_database(
    client: MongoClient[Document], options: Options
) -> Database[Document]:
    """The database of the settings, as a queue needs it: up to date and confirmed."""
    name = options.mongo_database
    try:
        database = client.get_database(name, read_preference=ReadPreference.PRIMARY)
    except mongo_errors.InvalidName as error:
        message = f"Q_CLUSTER['mongo_db'] {name!r} can't be the name of a database"
        raise ConfigurationError(f"{message}: {clean(error)}.") from error
    if not database.write_concern.acknowledged:
        message = "Q_CLUSTER['mongo'] has w=0: MongoDB would not say what it has saved."
        raise ConfigurationError(message, hint="Remove it.")
    return database


def open_collection(database: Database[Document], queue: str) -> Collection[Document]:
    """The collection that is called like the queue."""
    reason = what_is_odd(f"{database.name}.{queue}", queue)
    try:
        collection = database[queue]
    except mongo_errors.InvalidName as error:
        raise odd_name("MongoDB", queue, clean(error)) from error
    if reason:
        raise odd_name("MongoDB", queue, reason)
    return collection


def what_is_odd(whole_name: str, queue: str) -> str:
    """What the server would refuse, or take for something else, and the client lets pass."""
    if "$" in queue or queue.startswith("system."):
        return "the server keeps such names for itself"
    if len(whole_name.encode()) > LONGEST_NAME:
        return f"with the database it has more than {LONGEST_NAME} bytes"
    return ""


def address_of(options: Options) -> str:
    """Where the servers are, without user and password: db.internal:27017."""
    keywords = options.mongo or {}
    hosts = keywords.get("host") or "localhost"
    texts = [hosts] if isinstance(hosts, str) else hosts
    return clean(", ".join(_place_in(str(text), keywords) for text in texts))


def _place_in(text: str, keywords: Mapping[str, Any]) -> str:
    hosts = text.rpartition("://")[2].partition("/")[0].partition("?")[0]
    place = hosts.rpartition("@")[2]
    return place if ":" in place else f"{place}:{keywords.get('port') or 27017}"


@contextmanager
def plain_words(options: Options) -> Iterator[None]:
    """Errors of the client leave as BrokerUnavailable or BrokerError."""
    try:
        yield
    except mongo_errors.DocumentTooLarge as error:
        # It is none of the client's other errors.
        raise too_large() from error
    except mongo_errors.PyMongoError as error:
        raise translated(error, options) from error


def too_large() -> PackageTooLarge:
    advice = "Pass a file name or an id instead of the data."
    return PackageTooLarge("MongoDB takes no document of 16 MiB or more.", hint=advice)


def translated(error: mongo_errors.PyMongoError, options: Options) -> Exception:
    """The error of ours that stands for this one."""
    address = address_of(options)
    if is_outage(error):
        message = f"Can't reach the MongoDB broker at {address} ({reason_of(error)})."
        hint = "Check that MongoDB runs and that Q_CLUSTER['mongo'] is right."
        hint = f"{about_certificate(str(error)) or hint} {USE_THE_DATABASE}"
        return MongoUnavailable(message, hint=hint)
    if code_of(error) in FORBIDDEN:
        message = f"MongoDB at {address} does not let us in ({reason_of(error)})."
        hint = "Set user and password in Q_CLUSTER['mongo'], and give it readWrite."
        return BrokerError(message, hint=hint)
    if code_of(error) in TOO_LARGE:
        return too_large()
    return BrokerError(f"MongoDB at {address} refuses: {reason_of(error)}")


def is_outage(error: mongo_errors.PyMongoError) -> bool:
    """Whether it may be over when it is tried again."""
    return isinstance(error, OUTAGES) or error.has_error_label("RetryableWriteError")


def is_cut_off(error: mongo_errors.PyMongoError) -> bool:
    """Whether it may have been done, and the answer was lost."""
    return isinstance(error, mongo_errors.AutoReconnect) and not isinstance(
        error, mongo_errors.ServerSelectionTimeoutError
    )


def is_twice(error: mongo_errors.PyMongoError) -> bool:
    """Whether somebody else has inserted the same at the same moment."""
    return code_of(error) == DUPLICATE


def code_of(error: mongo_errors.PyMongoError) -> int | None:
    """The number of the error; of several the first one's."""
    if isinstance(error, mongo_errors.BulkWriteError):
        details: Mapping[str, Any] = error.details
        codes = [each.get("code") for each in details.get("writeErrors", ())]
        return codes[0] if codes else None
    return error.code if isinstance(error, mongo_errors.OperationFailure) else None


def reason_of(error: mongo_errors.PyMongoError) -> str:
    """Why, in one line, and without what was sent."""
    if isinstance(error, mongo_errors.BulkWriteError):
        found = error.details.get("writeErrors") or [{}]
        return clean(found[0].get("errmsg", "batch op errors occurred"))
    if isinstance(error, mongo_errors.OperationFailure):
        return clean((error.details or {}).get("errmsg") or type(error).__name__)
    return clean(str(error).partition(", Topology Description")[0].partition(" (")[0])
