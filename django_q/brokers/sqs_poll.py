"""Poll: how an idle cluster learns at once that a message has come to Amazon SQS."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Lock, Thread
from time import monotonic
from typing import Any, Final

from django_q.exceptions import DjangoQError

Messages = Sequence[Any]

LAST_WAIT: Final = 1.0
"""Seconds that are waited in the end for a question that is about to be answered."""


class Poll:
    """One long question at a time, asked in a thread, so that nobody blocks here. Its
    answer makes the descriptor readable.

    What the question brings is ours from the moment at which SQS answers. Whatever is
    not taken soon, or comes when nobody waits any more, is given back.
    """

    def __init__(
        self,
        receive: Callable[[int], Messages],
        give_back: Callable[[Messages], None],
        hang_up: Callable[[], None],
        fresh: float,
    ) -> None:
        self._receive = receive
        self._give_back = give_back
        self._hang_up = hang_up
        self._fresh = fresh
        """Seconds for which an answer may lie here."""
        self._lock = Lock()
        self._thread: Thread | None = None
        self._is_asking = self._is_expecting = False
        self._has_ended = False
        self._error: Exception | None = None
        self._messages: Messages = ()
        self._came = 0.0
        self._ear, self._bell = os.pipe()

    @property
    def descriptor(self) -> int:
        """Becomes readable with an answer."""
        return self._ear

    @property
    def is_asking(self) -> bool:
        return self._is_asking

    @property
    def is_answered(self) -> bool:
        """Whether messages have come, or an error."""
        return bool(self._messages or self._error)

    def ask(self, count: int) -> None:
        """Ask for up to so many, unless it is asked, or answered, already."""
        if not self._is_asking and not self.is_answered:
            self._is_asking, self._is_expecting = True, False
            # A daemon: the end of the process does not wait for the answer.
            self._thread = Thread(target=self._run, args=(count,), daemon=True)
            self._thread.start()

    def expect(self) -> None:
        """There is something now that a question on its way may bring."""
        self._is_expecting = True

    def take(self) -> Messages:
        """The answer. Raises the error that came instead."""
        with self._lock:
            messages, self._messages = self._messages, ()
            error, self._error = self._error, None
            if messages or error:
                os.read(self._ear, 1)
        if error is not None:
            raise error
        if monotonic() - self._came > self._fresh:
            self._return(messages)
            return ()
        return messages

    def end(self) -> None:
        """Wait no longer. A question that is on its way can't be called back: for as long
        as this process lives, what it brings is given back at once. What it is expected to
        bring is waited for, also when all has ended before: it would be nobody's for a
        whole lease.
        """
        with self._lock:
            has_ended, self._has_ended = self._has_ended, True
            messages, self._messages = self._messages, ()
        if not has_ended:
            os.close(self._ear)
            os.close(self._bell)
        if not self._is_asking:
            self._hang_up()
        self._return(messages)
        if self._is_expecting and self._thread is not None:
            self._thread.join(LAST_WAIT)

    def _run(self, count: int) -> None:
        messages: Messages = ()
        error: Exception | None = None
        try:
            messages = self._receive(count)
        except Exception as problem:  # noqa: BLE001 - whoever takes the answer gets it
            error = problem
        with self._lock:
            self._is_asking = False
            if not self._has_ended:
                self._messages, self._error, self._came = messages, error, monotonic()
                if messages or error:
                    os.write(self._bell, b"!")
                return
        self._hang_up()
        self._return(messages)

    def _return(self, messages: Messages) -> None:
        with suppress(DjangoQError):
            if messages:
                self._give_back(messages)
