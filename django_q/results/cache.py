"""Cached results: single ones, groups, and the parts of an iterable."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import monotonic, sleep
from typing import Any, Final
from urllib.parse import quote

from django.core.cache import BaseCache

from django_q.callables import name_of
from django_q.envelope import Envelope, derived_id
from django_q.exceptions import UnreadablePackage
from django_q.logs import clean, logger
from django_q.outcome import Outcome
from django_q.signing import SignedPackage

LOCK_PATIENCE: Final = 2.0
LOCK_LIFE: Final = 5
"""Seconds that a process waits for a group's list, and that a dead one may hold it."""

LOCK_PAUSE: Final = 0.002
AT_ONCE: Final = 200
"""Keys that one command to the cache carries."""

LONGEST_WORD: Final = 120
"""Characters of a group in a key; memcached takes 250 for the whole key."""


class ResultCache:
    """The cached results of one queue. All of them are signed, and verified on reading.

    A result is under `<list key>:<task id>`, the keys of a group's results under
    `<list key>:<group>:keys`. Whatever characters a group has, its keys are its own.
    """

    def __init__(self, cache: BaseCache, list_key: str) -> None:
        self._cache = cache
        self._prefix = quote(list_key, safe=":")

    # -- single results

    def save(self, outcome: Outcome) -> None:
        """Keep an outcome, and note it in its group. Raises what the cache raises."""
        envelope = outcome.envelope
        timeout = _lifetime(envelope.cached)
        package = SignedPackage.dumps(_portable_dict(outcome))
        self._cache.set(self.key(envelope.id), package, timeout)
        if envelope.group and envelope.iter_index is None:
            self._join(envelope.group, self.key(envelope.id), timeout)

    def find(self, task_id: str) -> dict[str, Any] | None:
        """The task dict of an ended task, with its result."""
        found: dict[str, Any] | None = self._opened(self._cache.get(self.key(task_id)))
        return found

    def delete(self, task_id: str) -> bool:
        """Forget a result. Whether there was one."""
        return self._cache.delete(self.key(task_id))

    # -- groups

    def find_group(
        self, group: str, *, failures: bool = True
    ) -> list[dict[str, Any]] | None:
        """The task dicts of a group, as they ended; None if there is no such group."""
        keys = self._cache.get(self._group_key(group, "keys"))
        if keys is None:
            return None
        packages = self._get_all(keys)
        tasks = [self._opened(packages.get(key)) for key in keys]
        return [task for task in tasks if task and (failures or task["success"])]

    def delete_group(self, group: str) -> None:
        """Forget the results of a group, and the group."""
        group_key = self._group_key(group, "keys")
        keys = self._cache.get(group_key) or []
        self._delete_all([*keys, group_key])

    # -- iterables

    def keep_arguments(self, iter_id: str, arguments: Sequence[Any]) -> None:
        """Keep what an iterable was given; its collated task shows it."""
        package = SignedPackage.dumps(list(arguments))
        self._cache.set(self._group_key(iter_id, "args"), package, None)

    def find_arguments(self, iter_id: str) -> list[Any] | None:
        """What an iterable was given."""
        found: list[Any] | None = self._opened(
            self._cache.get(self._group_key(iter_id, "args"))
        )
        return found

    def find_parts(self, part: Envelope) -> list[dict[str, Any]] | None:
        """All parts of an iterable, in the order of its arguments.

        None while some are missing. Every part is saved before it looks, so the last
        one sees all; if two end in the same instant, both may.
        """
        if part.iter_index is None:
            return self._find_parts_as_ended(part)
        keys = self._part_keys(part)
        # Parts mostly end in order, so most looks end here.
        if not self._cache.has_key(keys[-1]):
            return None
        found: dict[str, str] = {}
        for some in _batches(keys[::-1]):
            there = self._cache.get_many(some)
            if len(there) < len(some):
                return None
            found |= there
        tasks = [self._opened(found[key]) for key in keys]
        return [task for task in tasks if task]

    def delete_parts(self, part: Envelope) -> None:
        """Forget the parts of an iterable and its arguments."""
        keys = [self._group_key(str(part.group), "args")]
        if part.iter_index is None:
            self.delete_group(str(part.group))
        else:
            keys += self._part_keys(part)
        self._delete_all(keys)

    def _find_parts_as_ended(self, part: Envelope) -> list[dict[str, Any]] | None:
        """Parts that an earlier release queued say nothing of their order."""
        tasks = self.find_group(str(part.group)) or []
        return tasks if len(tasks) >= (part.iter_count or 1) else None

    def _part_keys(self, part: Envelope) -> list[str]:
        iter_id, count = str(part.group), part.iter_count or 1
        return [self.key(part_id(iter_id, index)) for index in range(count)]

    # -- keys

    def key(self, task_id: str) -> str:
        """Where the result of a task is."""
        return f"{self._prefix}:{_word(task_id)}"

    def _group_key(self, group: str, what: str) -> str:
        return f"{self._prefix}:{_word(group)}:{what}"

    # -- the cache itself

    def _opened(self, package: str | None) -> Any:
        """What is in a package; None if there is none, or not one of ours."""
        if package is None:
            return None
        try:
            return SignedPackage.loads(package)
        except UnreadablePackage as error:
            logger.warning("a cached result was refused: %s", clean(error))
            return None

    def _get_all(self, keys: Sequence[str]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for some in _batches(keys):
            found |= self._cache.get_many(some)
        return found

    def _delete_all(self, keys: Sequence[str]) -> None:
        for some in _batches(keys):
            self._cache.delete_many(some)

    def _join(self, group: str, key: str, timeout: float | None) -> None:
        """Add a key to a group's list; members that end in the same instant wait."""
        group_key = self._group_key(group, "keys")
        with self._lock(self._group_key(group, "lock")):
            keys = self._cache.get(group_key) or []
            if key not in keys:
                keys.append(key)
            self._cache.set(group_key, keys, timeout)

    @contextmanager
    def _lock(self, key: str) -> Iterator[None]:
        """`add` happens as one step in every cache that processes can share."""
        deadline = monotonic() + LOCK_PATIENCE
        while not self._cache.add(key, 1, LOCK_LIFE) and monotonic() < deadline:
            sleep(LOCK_PAUSE)
        try:
            yield
        finally:
            self._cache.delete(key)


def part_id(iter_id: str, index: int) -> str:
    """The id of a part of an iterable: it follows from the iterable's."""
    return derived_id(iter_id, f"part {index}")


def _batches(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), AT_ONCE):
        yield keys[start : start + AT_ONCE]


def _lifetime(cached: bool | int | None) -> float | None:
    """Seconds; None: for ever, which is what True asks for."""
    return None if cached is True or not cached else cached


def _word(text: str) -> str:
    """A part of a key: no colon, no blank, no control character, not too long."""
    word = quote(str(text), safe="", errors="backslashreplace")
    if len(word) <= LONGEST_WORD:
        return word
    return hashlib.sha256(word.encode()).hexdigest()


def _portable_dict(outcome: Outcome) -> dict[str, Any]:
    """The task dict with names for functions: whoever reads it may not have them."""
    task = outcome.as_dict() | {"func": name_of(outcome.envelope.func)}
    if "hook" in task:
        task["hook"] = outcome.envelope.hook_name
    for key in ("chain", "iter_hook", "ack_id"):
        task.pop(key, None)
    return task
