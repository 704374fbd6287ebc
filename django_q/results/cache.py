"""Cached results: single ones, groups, and the arguments of iterables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.cache import BaseCache

from django_q.callables import name_of
from django_q.envelope import Envelope
from django_q.exceptions import PackageTooLarge
from django_q.logs import logger
from django_q.outcome import Outcome
from django_q.results.parts import Parts
from django_q.results.shelf import Shelf


class ResultCache:
    """The cached results of one queue.

    A result is under `<list key>:<task id>`, the keys of a group's results under
    `<list key>:<group>:keys`.
    """

    def __init__(self, cache: BaseCache, list_key: str) -> None:
        self._shelf = Shelf(cache, list_key)

    # -- single results

    def save(self, outcome: Outcome) -> None:
        """Keep an outcome, and note it in its group. Raises what the cache raises."""
        envelope = outcome.envelope
        timeout = _lifetime(envelope.cached)
        key = self._shelf.key(envelope.id)
        self._shelf.put(key, _portable_dict(outcome), timeout)
        if envelope.group:
            self._join(envelope.group, key, timeout)

    def find(self, task_id: str) -> dict[str, Any] | None:
        """The task dict of an ended task, with its result."""
        found: dict[str, Any] | None = self._shelf.get(self._shelf.key(task_id))
        return found

    def delete(self, task_id: str) -> bool:
        """Forget a result. Whether there was one."""
        return self._shelf.cache.delete(self._shelf.key(task_id))

    # -- groups

    def find_group(
        self, group: str, *, failures: bool = True
    ) -> list[dict[str, Any]] | None:
        """The task dicts of a group, as they ended; None if there is no such group."""
        keys = self._shelf.cache.get(self._shelf.group_key(group, "keys"))
        if keys is None:
            return None
        tasks = self._shelf.get_all(keys)
        return [task for task in tasks if task and (failures or task["success"])]

    def delete_group(self, group: str) -> None:
        """Forget the results of a group, and the group."""
        group_key = self._shelf.group_key(group, "keys")
        keys = self._shelf.cache.get(group_key) or []
        self._shelf.delete_all([*keys, group_key])

    def _join(self, group: str, key: str, timeout: float | None) -> None:
        """Add a key to a group's list; members that end in the same instant wait."""
        group_key = self._shelf.group_key(group, "keys")
        with self._shelf.lock(self._shelf.group_key(group, "lock")):
            keys = self._shelf.cache.get(group_key) or []
            if key not in keys:
                keys.append(key)
            self._shelf.cache.set(group_key, keys, timeout)

    # -- iterables

    def keep_arguments(self, iter_id: str, arguments: Sequence[Any]) -> None:
        """Keep what an iterable was given; its collated task shows it."""
        key = self._shelf.group_key(iter_id, "args")
        self._shelf.put(key, list(arguments), None)

    def warn_of_loss(self, count: int) -> None:
        """Say in the log if the cache has no room for so many parts."""
        room = self._shelf.room
        if room is not None and count >= room:
            text = "iterable of %s parts: its cache drops some above %s entries. %s"
            logger.warning(text, count, room, "Raise MAX_ENTRIES of this cache.")

    def find_arguments(self, iter_id: str) -> list[Any] | None:
        """What an iterable was given."""
        key = self._shelf.group_key(iter_id, "args")
        found: list[Any] | None = self._shelf.get(key)
        return found

    def save_part(self, outcome: Outcome) -> bool:
        """Keep the part of an iterable; False if the cache did not."""
        envelope = outcome.envelope
        if envelope.iter_index is None:
            # Queued by an earlier release: found as a member of its group.
            self.save(outcome)
            return True
        key, timeout = self.parts_of(envelope).own_key, _lifetime(envelope.cached)
        try:
            return self._shelf.put_surely(key, _portable_dict(outcome), timeout)
        except PackageTooLarge:
            return False

    def parts_of(self, part: Envelope) -> Parts:
        """All parts of the iterable that this is one of."""
        return Parts(self._shelf, part)


def _lifetime(cached: bool | int | None) -> float | None:
    """Seconds; None: for ever, which is what True asks for."""
    return None if cached is True or not cached else cached


def _portable_dict(outcome: Outcome) -> dict[str, Any]:
    """The task dict with names for functions: whoever reads it may not have them."""
    task = outcome.as_dict() | {"func": name_of(outcome.envelope.func)}
    if "hook" in task:
        task["hook"] = outcome.envelope.hook_name
    for key in ("chain", "iter_hook", "ack_id"):
        task.pop(key, None)
    return task
