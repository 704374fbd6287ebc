"""Watch: how an idle cluster learns at once that a package has come to MongoDB."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Lock, Thread
from typing import Any, Final

from pymongo.change_stream import CollectionChangeStream
from pymongo.errors import OperationFailure, PyMongoError

from django_q.brokers.mongo_client import Document, reason_of
from django_q.brokers.mongo_documents import PAUSED
from django_q.brokers.news import SLOW_PULSE, News
from django_q.exceptions import DjangoQError
from django_q.logs import logger

ANSWERS_WITHIN: Final = 500
"""Milliseconds after which the server says that nothing has changed."""

PAUSE: Final = 1.0
"""Seconds before a stream that ended is opened anew."""

ARRIVALS: Final[list[Document]] = [
    {
        "$match": {
            "$or": [
                {"operationType": {"$in": ["insert", "replace"]}},
                {"updateDescription.removedFields": "leased"},
                {"operationType": "delete", "documentKey._id": PAUSED},
            ]
        }
    },
    {"$project": {"operationType": 1}},
]
"""What came, and what was given back, or that the queue goes on; not what was taken or
renewed. A small document may be told of as replaced, whatever happened to it.
"""

Stream = CollectionChangeStream[Document]


class Watch(News):
    """Follows the changes of a collection in a thread, where the server can tell of them:
    a replica set can. Elsewhere a look may bring news at any time.

    Only whoever closes it may open it: the thread lives until then.
    """

    def __init__(self, open_stream: Callable[..., Stream], poll: float) -> None:
        super().__init__(poll)
        self._open_stream = open_stream
        self._lock = Lock()
        self._end = Event()
        self._is_listening = False
        self._is_rung = False
        self._ear, self._bell = os.pipe()
        # A daemon: the end of the process does not wait for the answer.
        Thread(target=self._run, daemon=True).start()

    def fd(self) -> int | None:
        return self._ear if self._is_listening else None

    def pulse(self) -> float:
        return SLOW_PULSE if self._is_listening else super().pulse()

    def has_any(self) -> bool:
        with self._lock:
            was_rung, self._is_rung = self._is_rung, False
            if was_rung:
                os.read(self._ear, 1)
        return was_rung or (not self._is_listening and super().has_any())

    def close(self) -> None:
        with self._lock:
            if not self._end.is_set():
                self._end.set()
                self._is_listening = self._is_rung = False
                os.close(self._ear)
                os.close(self._bell)

    def _run(self) -> None:
        while not self._end.is_set():
            # What the queue's own verbs meet as well, they say.
            with suppress(PyMongoError, DjangoQError):
                try:
                    stream = self._open_stream(
                        ARRIVALS, max_await_time_ms=ANSWERS_WITHIN
                    )
                except OperationFailure as error:
                    logger.info("MongoDB tells of no changes: %s", reason_of(error))
                    return
                with stream:
                    self._listen(stream)
            self._note(is_listening=False)
            self._end.wait(PAUSE)

    def _listen(self, stream: Any) -> None:
        # Something may have come before.
        self._note(is_listening=True)
        while stream.alive and not self._end.is_set():
            if stream.try_next() is not None:
                self._note(is_listening=True)

    def _note(self, *, is_listening: bool) -> None:
        """There may be news."""
        with self._lock:
            if self._end.is_set():
                return
            self._is_listening = is_listening
            if not self._is_rung:
                self._is_rung = True
                os.write(self._bell, b"!")
