"""Session: a client of MongoDB in one process, with the collections that were prepared."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from time import monotonic
from typing import Final, TypeVar

from pymongo import IndexModel, MongoClient
from pymongo.collection import Collection
from pymongo.errors import PyMongoError

from django_q.brokers import mongo_documents as documents
from django_q.brokers.mongo_client import (
    Document,
    is_cut_off,
    is_twice,
    open_collection,
    open_database,
    plain_words,
)
from django_q.conf import get_options

Value = TypeVar("Value")
Queue = Collection[Document]

SIGNS: Final = "django_q:signs"
"""The collection of the vital signs of clusters; the server removes old ones."""

LONGEST_END: Final = 2.0
"""Seconds; a project's own clients have threads too, which do not end."""

INDEXES: Final = (
    IndexModel(documents.ORDER),
    IndexModel("lock"),
    IndexModel("holder", sparse=True),
    IndexModel("task_id", sparse=True, unique=True),
)


class Session:
    """From the first verb of a broker to its end, or to that of its process.

    A client that is ours ends with it; one that a subclass has given us is its own.
    """

    def __init__(self, client: MongoClient[Document], *, is_ours: bool) -> None:
        self.client = client
        self.indexed: set[str] = set()
        """Collections whose indexes are there."""
        self._process = os.getpid()
        ours = client if is_ours else None
        self._hang_up = weakref.finalize(self, hang_up, ours, self._process)

    @property
    def is_over(self) -> bool:
        """No thread of a client comes with us when the process forks."""
        return not self._hang_up.alive or self._process != os.getpid()

    def end(self) -> None:
        self._hang_up()

    def use(
        self, verb: Callable[[Queue], Value], name: str, *, twice: bool = False
    ) -> Value:
        """What a verb of a collection gives; errors say what to do.

        `twice`: it may be done again when its answer was lost.
        """
        with plain_words(get_options()):
            collection = self.open(name)
            try:
                return verb(collection)
            except PyMongoError as error:
                if not (twice and (is_cut_off(error) or is_twice(error))):
                    raise
            return verb(collection)

    def open(self, name: str) -> Queue:
        """A collection, with its indexes."""
        collection = open_collection(open_database(self.client, get_options()), name)
        if name not in self.indexed:
            expiry = IndexModel("until", expireAfterSeconds=0)
            collection.create_indexes([expiry] if name == SIGNS else list(INDEXES))
            self.indexed.add(name)
        return collection


def hang_up(client: MongoClient[Document] | None, process: int) -> None:
    """Close a client of this process; another one's lines are not ours to close."""
    if client is not None and process == os.getpid():
        client.close()


def await_threads() -> None:
    """Wait for the threads of clients that were closed: they look twice a second."""
    deadline = monotonic() + LONGEST_END
    for thread in threading.enumerate():
        if thread.name.startswith("pymongo_"):
            thread.join(max(0.0, deadline - monotonic()))
