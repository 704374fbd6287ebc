"""MongoBase: what a broker on MongoDB is besides its queue: its client, and vital signs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from pymongo import MongoClient

from django_q.brokers import mongo_documents as documents
from django_q.brokers.advice import odd_name
from django_q.brokers.base import Broker
from django_q.brokers.contact import Contact
from django_q.brokers.mongo_client import Document, connect
from django_q.brokers.mongo_session import SIGNS, Queue, Session
from django_q.conf import get_options
from django_q.exceptions import BrokerUnavailable

Value = TypeVar("Value")


class MongoBase(Broker):
    """Asks collections, with a client that is made anew after `close` and after a fork."""

    connection: MongoClient[Document]

    def __init__(self, list_key: str | None = None) -> None:
        if (list_key or get_options().queue) == SIGNS:
            raise odd_name("MongoDB", SIGNS, "the vital signs of clusters are there")
        super().__init__(list_key)
        self._prepare()

    def __setstate__(self, state: tuple[str, str | None]) -> None:
        super().__setstate__(state)
        self._prepare()

    def _prepare(self) -> None:
        self._contact = Contact(self.lease_length)
        self._begin_session()

    @property
    def lease_length(self) -> float:
        options = get_options()
        return max(1.0, float(options.retry or options.lease))

    @staticmethod
    def get_connection(list_key: str | None = None) -> MongoClient[Document]:
        """A client, which connects with the first verb; in each process another one."""
        return connect(get_options())

    def ping(self) -> bool:
        answer = self._use(lambda queue: queue.database.command("ping"), twice=True)
        return bool(answer["ok"])

    def info(self) -> str:
        if self._info is None:
            about = self._use(lambda queue: queue.database.command("buildInfo"))
            self._info = f"MongoDB {about['version']}"
        return self._info

    def close(self) -> None:
        self._session.end()

    # -- vital signs

    def set_stat(self, key: str, value: str, timeout: float = 3) -> None:
        until = {"$add": [documents.NOW, documents.milliseconds(timeout)]}
        change = [{"$set": {"value": {"$literal": value}, "until": until}}]

        def write(signs: Queue) -> None:
            signs.update_one({"_id": key}, change, upsert=True)

        self._use(write, SIGNS, twice=True)

    def get_stat(self, key: str) -> str | None:
        return next(iter(self._signs(key)), None)

    def get_stats(self, pattern: str) -> list[str]:
        start = pattern.removesuffix("*")
        return self._signs({"$gte": start, "$lt": f"{start}\U0010ffff"})

    def _signs(self, key: Any) -> list[str]:
        terms = {"_id": key, "$expr": {"$gt": ["$until", documents.NOW]}}
        found = self._find(terms, name=SIGNS)
        return [str(document["value"]) for document in found]

    # -- the collection

    def _use(
        self,
        verb: Callable[[Queue], Value],
        name: str | None = None,
        *,
        twice: bool = False,
    ) -> Value:
        """What a verb of a collection gives; by default of the queue's.

        `twice`: it may be done again when its answer was lost.
        """
        try:
            value = self._open_session().use(verb, name or self.list_key, twice=twice)
        except BrokerUnavailable:
            self._contact.lose()
            raise
        self._contact.note()
        return value

    def _open_session(self) -> Session:
        if self._session.is_over:
            self.connection = self.get_connection(self.list_key)
            self._begin_session()
        return self._session

    def _begin_session(self) -> None:
        is_ours = type(self).get_connection is MongoBase.get_connection
        self._session = Session(self.connection, is_ours=is_ours)

    def _find(
        self, terms: Document, fields: Any = None, name: str | None = None
    ) -> list[Document]:
        return self._use(lambda queue: list(queue.find(terms, fields)), name)

    def _write(
        self, changes: Sequence[Any], name: str | None = None, *, twice: bool = False
    ) -> int:
        """Do these in order; gives how many documents were removed."""
        if not changes:
            return 0

        def write(queue: Queue) -> int:
            return queue.bulk_write(changes).deleted_count

        return self._use(write, name, twice=twice)
