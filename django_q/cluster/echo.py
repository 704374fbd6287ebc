"""Echo: repeats the vital signs for earlier releases, where nobody waits for it."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Final

from django.core.cache import BaseCache
from django.db import connections

from django_q.brokers import Broker
from django_q.brokers.stats import is_shared
from django_q.logs import clean, logger
from django_q.status import Stat

PATIENCE: Final = 1.0
"""Seconds that the last word may take when the cluster stops."""


class Echo(threading.Thread):
    """Writes the latest vital signs into the cache.

    A thread, because a cache that hangs would keep everything else waiting. What is said
    while it hangs is forgotten for what is said later.
    """

    def __init__(self, broker: Broker) -> None:
        super().__init__(name="django-q echo", daemon=True)
        self._find_cache = broker.get_cache
        self._said: tuple[Stat, float] | None = None
        self._news = threading.Event()
        self._is_over = False
        self._is_failing = False

    @classmethod
    def of(cls, broker: Broker) -> Echo:
        """An echo in the broker's cache, which is silent where nobody would hear it."""
        echo = cls(broker)
        if is_shared(broker.get_cache()):
            echo.start()
        return echo

    def say(self, stat: Stat, seconds: float) -> None:
        """Have these vital signs repeated for so long."""
        self._said = stat, seconds
        self._news.set()

    def close(self) -> None:
        """Say the last word, unless that takes too long."""
        self._is_over = True
        self._news.set()
        if self.is_alive():
            self.join(PATIENCE)

    def run(self) -> None:
        # Clients of caches belong to the thread that made them.
        cache = self._find_cache()
        is_over = False
        while not is_over:
            self._news.wait()
            self._news.clear()
            is_over = self._is_over
            said, self._said = self._said, None
            if said is not None:
                self._repeat(cache, *said)
        with suppress(Exception):
            cache.close()
        connections.close_all()

    def _repeat(self, cache: BaseCache, stat: Stat, seconds: float) -> None:
        try:
            stat.repeat(cache, seconds)
        except Exception as error:  # noqa: BLE001 - clients of caches raise what they like
            if not self._is_failing:
                text = "vital signs can't be cached for earlier releases: %s"
                logger.warning(text, clean(f"{type(error).__name__}: {error}"))
            self._is_failing = True
        else:
            self._is_failing = False
