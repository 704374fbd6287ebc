"""Shelf: the place of one queue in the cache; keys, signed values, locks."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from time import monotonic, sleep
from typing import Any, BinaryIO, Final
from urllib.parse import quote

from django.core.cache import BaseCache
from django.core.cache.backends.filebased import FileBasedCache
from django.core.files import locks

from django_q.exceptions import UnreadablePackage
from django_q.logs import clean, logger
from django_q.signing import SignedPackage

LOCK_PATIENCE: Final = 2.0
LOCK_LIFE: Final = 5
"""Seconds that a process waits for a lock, and that a dead one may hold it."""

TRIES: Final = 3
LOCK_PAUSE: Final = 0.002
AT_ONCE: Final = 100
"""Keys that one command to the cache carries."""

LONGEST_WORD: Final = 120
"""Characters of a group in a key; memcached takes 250 for the whole key."""


class Shelf:
    """What a queue has in the cache. All values are signed, and verified on reading."""

    def __init__(self, cache: BaseCache, list_key: str) -> None:
        self.cache = cache
        self._prefix = quote(list_key, safe=":")

    @property
    def room(self) -> int | None:
        """Entries that it keeps; None: no number. Above it, Django's own caches drop
        some, whether they have expired or not.
        """
        if not hasattr(self.cache, "_cull"):
            return None
        room: int = self.cache._max_entries  # noqa: SLF001
        return room

    # -- keys: whatever characters a name has, its keys are its own

    def key(self, task_id: str) -> str:
        """Where the result of a task is."""
        return f"{self._prefix}:{_word(task_id)}"

    def group_key(self, group: str, what: str) -> str:
        """Where something of a group, or of an iterable, is."""
        return f"{self._prefix}:{_word(group)}:{what}"

    # -- values

    def put(self, key: str, value: Any, timeout: float | None) -> None:
        self.cache.set(key, SignedPackage.dumps(value), timeout)

    def put_surely(self, key: str, value: Any, timeout: float | None) -> bool:
        """Look whether it is there now: memcached silently drops what is too large, and
        Django's cache in the database what meets another write.
        """
        package = SignedPackage.dumps(value)
        for _try in range(TRIES):
            self.cache.set(key, package, timeout)
            if self.cache.has_key(key):
                return True
        return False

    def get(self, key: str) -> Any:
        return _opened(self.cache.get(key))

    def get_all(self, keys: Sequence[str]) -> Iterator[Any]:
        """The values in the order of their keys; None for each that is not there."""
        for some in _batches(keys):
            packages = self.cache.get_many(some)
            yield from (_opened(packages.get(key)) for key in some)

    def delete_all(self, keys: Iterable[str]) -> None:
        for some in _batches(keys):
            self.cache.delete_many(some)

    # -- one at a time

    def add(self, key: str, value: Any, timeout: float | None = None) -> bool:
        """Set what is not there yet, as one step. False if it is there."""
        with _alone_with_files(self.cache):
            return self.cache.add(key, value, timeout)

    @contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Hold a lock, which a process that died with it may delay but not block."""
        deadline = monotonic() + LOCK_PATIENCE
        while not (is_ours := self.add(key, 1, LOCK_LIFE)) and monotonic() < deadline:
            sleep(LOCK_PAUSE)
        try:
            yield
        finally:
            # Whoever went on without it must not take it from its holder.
            if is_ours:
                self.cache.delete(key)


@contextmanager
def _alone_with_files(cache: BaseCache) -> Iterator[None]:
    """`add` happens as one step in every cache that processes can share, but for
    Django's cache of files: that one looks first and writes then.
    """
    if not isinstance(cache, FileBasedCache):
        yield
        return
    folder = Path(cache._dir)  # type: ignore[attr-defined]  # noqa: SLF001
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _open_privately(folder / "django_q.lock") as file:
        locks.lock(file, locks.LOCK_EX)
        yield


def _open_privately(path: Path) -> BinaryIO:
    """As the cache's own files: for this user, and never through a link."""
    flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    return os.fdopen(os.open(path, flags, 0o600), "wb")


def _batches(keys: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(keys)
    while some := list(islice(rest, AT_ONCE)):
        yield some


def _opened(package: str | None) -> Any:
    """What is in a package; None if there is none, or not one of ours."""
    if package is None:
        return None
    try:
        return SignedPackage.loads(package)
    except UnreadablePackage as error:
        logger.warning("a cached result was refused: %s", clean(error))
        return None


def _word(text: str) -> str:
    """A part of a key: no colon, no blank, no control character, not too long."""
    word = quote(str(text), safe="", errors="backslashreplace")
    if len(word) <= LONGEST_WORD:
        return word
    # No quoted text has this sign: else it would be some other group's own name.
    return f"={hashlib.sha256(word.encode()).hexdigest()}"
