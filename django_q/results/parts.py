"""Parts: what the parts of an iterable returned, and which of them collates it."""

from __future__ import annotations

from collections.abc import Iterator
from time import sleep
from typing import Any, Final

from django_q.envelope import Envelope, derived_id
from django_q.results.shelf import Shelf

FAN: Final = 16
"""Parts that one mark stands for, and marks that one on the floor above stands for."""

LOOKS: Final = 100
LOOK_PAUSE: Final = 0.01
"""How often, and with which pause in seconds, a cache is asked who collates."""


class Parts:
    """The parts of one iterable, as the one that has ended just now sees them.

    Each part is saved under a key of its own before it looks whether all are there. To
    find out it looks at its fifteen neighbours; the last one of these sets a mark and
    looks at the fifteen neighbours of that, and so on: the cost of a part does not grow
    with their number. (A counter would be simpler, but few caches count in one step,
    and a part that runs again would count twice.)

    Of several that see all, one collates. Not its process but the part itself is noted:
    it is acknowledged only when the whole is saved, so if its worker dies it comes back
    and collates after all.
    """

    def __init__(self, shelf: Shelf, part: Envelope) -> None:
        self._shelf = shelf
        self._part = part
        self._iter_id = str(part.group)
        self._count = part.iter_count or 1

    @property
    def own_key(self) -> str:
        """Where its own result is: that of any other task is under its id."""
        if self._part.iter_index is None:
            return self._shelf.key(self._part.id)
        return self._mark(0, self._part.iter_index)

    def is_collator(self) -> bool:
        """Whether all parts are there, and it falls to this one to collate them."""
        return self._are_complete() and self._is_chosen()

    def read(self) -> Iterator[dict[str, Any] | None]:
        """Their task dicts, in the order of the arguments; None for one that is gone."""
        return self._shelf.get_all(self._keys())

    def delete(self) -> None:
        """Forget the parts and what was given. Who collates is forgotten last: whoever
        takes it up then finds nothing.
        """
        self._shelf.delete_all(self._keys())
        self._shelf.delete_all(self._names_of_marks())
        for what in ("args", "keys", "collator"):
            self._shelf.cache.delete(self._name(what))

    # -- whether all are there

    def _are_complete(self) -> bool:
        place, size, floor = self._part.iter_index, self._count, 0
        if place is None:
            # Parts that an earlier release queued say nothing of their order.
            return len(self._keys()) >= size
        if place >= size:
            return False
        while self._is_group_complete(floor, place // FAN, size):
            place, size, floor = place // FAN, _floor_above(size), floor + 1
            if size == 1:
                return True
            self._shelf.put_surely(self._mark(floor, place), True, None)
        return False

    def _is_group_complete(self, floor: int, group: int, size: int) -> bool:
        first = group * FAN
        # Parts mostly end in order, so most looks end at the first of these.
        places = range(min(first + FAN, size) - 1, first - 1, -1)
        return all(self._shelf.cache.has_key(self._mark(floor, p)) for p in places)

    # -- who collates

    def _is_chosen(self) -> bool:
        key = self._name("collator")
        for _look in range(LOOKS):
            if self._shelf.add(key, self._part.id):
                return self._is_still_there(key)
            chosen = self._shelf.cache.get(key)
            if chosen is not None:
                return bool(chosen == self._part.id)
            # Gone in between, or a database that was busy said no.
            sleep(LOOK_PAUSE)
        # Better twice than never.
        return True

    def _is_still_there(self, key: str) -> bool:
        """Not so if another one collated them meanwhile, and deleted all."""
        if self._shelf.cache.has_key(self.own_key):
            return True
        self._shelf.cache.delete(key)
        return False

    # -- keys

    def _keys(self) -> list[str]:
        if self._part.iter_index is None:
            return self._shelf.cache.get(self._name("keys")) or []
        return [self._mark(0, place) for place in range(self._count)]

    def _names_of_marks(self) -> Iterator[str]:
        size, floor = _floor_above(self._count), 1
        while size > 1:
            yield from (self._mark(floor, place) for place in range(size))
            size, floor = _floor_above(size), floor + 1

    def _mark(self, floor: int, place: int) -> str:
        return self._name(f"{floor}.{place}")

    def _name(self, what: str) -> str:
        return self._shelf.group_key(self._iter_id, what)


def part_id(iter_id: str, index: int) -> str:
    """The id of a part of an iterable: it follows from the iterable's."""
    return derived_id(iter_id, f"part {index}")


def _floor_above(size: int) -> int:
    return -(-size // FAN)
