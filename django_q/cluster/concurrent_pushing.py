"""ConcurrentPusher: hands parcels to workers that have many at once."""

from __future__ import annotations

from math import isqrt

from django_q.cluster.frames import encode_parcels
from django_q.cluster.hands import Hand
from django_q.cluster.ledger import Entry
from django_q.cluster.pushing import Pusher
from django_q.cluster.recovery import count_start
from django_q.cluster.roles import Launch
from django_q.cluster.windows import fair_share


class ConcurrentPusher(Pusher):
    """Duties: those of a pusher, but 3. to fill places before anything waits behind them,
    and to give suspects to workers with empty hands, and no others with them.

    There are as many suspects as tasks ran beside the culprit. They go in groups, so that
    few die with it when it kills again, and for its last delivery each is alone. Where no
    hand is empty, one is let run empty, and the others go on.
    """

    def __init__(self, launch: Launch) -> None:
        super().__init__(launch)
        self._emptying: Hand | None = None

    def hand_over(self) -> None:
        self._emptying = None
        free = self.ledger.free
        if any(entry.is_suspect for entry in free):
            if self._may_give and not self.trouble.rest:
                self._give_suspects()
            # Innocents need not wait for those that are left.
            ordered = sorted(free, key=lambda entry: entry.is_suspect)
            free.clear()
            free.extend(ordered)
        if free and self._may_give:
            self._fill_places()
        super().hand_over()

    def _fill_places(self) -> None:
        """Nothing waits for a place in one worker while there are places in others."""
        hands = [(self._vacancies_in(hand), hand) for hand in self.hands.values()]
        vacant = sorted((n for n in hands if n[0] > 0), key=lambda pair: pair[0])
        for index, (count, hand) in enumerate(vacant):
            share = fair_share(len(self.ledger.free), len(vacant) - index)
            self._give(hand, min(share, count))

    def _vacancies_in(self, hand: Hand) -> int:
        return min(hand.room - self._load_of(hand), self._room_in(hand))

    def _room_in(self, hand: Hand) -> int:
        return 0 if hand is self._emptying else super()._room_in(hand)

    def _give_suspects(self) -> None:
        held = self.ledger.hands
        open_hands = [hand for hand in self._open_hands if not hand.line.closed]
        for hand in open_hands:
            if not held.get(hand.generation) and (group := self._next_group()):
                self._give_group(hand, group)
        if open_hands and self._next_group():
            hands = open_hands
            self._emptying = min(hands, key=lambda h: len(held.get(h.generation, ())))

    def _next_group(self) -> list[Entry]:
        """Suspects that may run together."""
        suspects = [entry for entry in self.ledger.free if entry.is_suspect]
        last = min(2, self.options.max_deliveries - 1)
        others = [entry for entry in suspects if entry.delivery.starts < last]
        size = isqrt(self.options.concurrency)
        return others[:size] if others else suspects[:1]

    def _give_group(self, hand: Hand, group: list[Entry]) -> None:
        free = self.ledger.free
        for entry in group:
            count_start(self.broker, entry)
        for entry in group:
            free.remove(entry)
        free.extendleft(reversed(group))
        entries = self.ledger.hand(hand.generation, len(group))
        hand.line.send(encode_parcels([entry.as_parcel() for entry in entries]))
