"""IronMQ: messages of a service on the web, which are reserved and then deleted."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from math import ceil
from typing import Any, Final, TypeVar
from urllib.parse import quote

from django_q.brokers.advice import odd_name
from django_q.brokers.base import Broker, Consignment, Delivery
from django_q.brokers.iron_client import Iron, Refused
from django_q.conf import get_options
from django_q.exceptions import BrokerError, BrokerUnavailable, PackageTooLarge
from django_q.logs import clean, logger

MOST_AT_ONCE: Final = 100
"""Messages that are posted, reserved or deleted with one request."""

SHORTEST_RESERVATION: Final = 30
LONGEST_RESERVATION: Final = 24 * 3600

LONGEST_DELAY: Final = 7 * 24 * 3600

SURE_TO_FIT: Final = 64_000
"""Bytes of messages in a request; some plans allow 64 KiB and others 256."""

NOT_THERE: Final = 404
NOT_OURS: Final = (403, 404)
"""How a request is refused that shows a reservation which has ended."""

TOO_LARGE: Final = 413
BAD: Final = 400

T = TypeVar("T")


class IronMQBroker(Broker):
    """Carries packages as messages of IronMQ.

    A message comes back when its reservation ends. Each renewal makes a new reservation,
    which IronMQ tells to nobody but the one who renewed: who does so removes the message
    when the task is settled.
    """

    supports_receipts = True
    supports_renewal = True
    supports_delay = True
    supports_bulk = True
    supports_peek = True

    connection: Iron
    _is_enlisted = False
    _found_all = True

    def __init__(self, list_key: str | None = None) -> None:
        super().__init__(list_key)
        self._prepare()

    def __setstate__(self, state: tuple[str, str | None]) -> None:
        super().__setstate__(state)
        self._prepare()

    def _prepare(self) -> None:
        self._renewed: dict[str, str] = {}
        self._settled: set[str] = set()
        """What we renewed and others acknowledged."""

    @staticmethod
    def get_connection(list_key: str | None = None) -> Iron:
        """A client; it connects with its first request."""
        return Iron(get_options().iron_mq or {})

    @property
    def lease_length(self) -> float:
        """How long a reservation is: `retry`, within the limits of IronMQ."""
        options = get_options()
        wanted = ceil(options.retry or options.lease)
        return max(SHORTEST_RESERVATION, min(wanted, LONGEST_RESERVATION))

    # -- producing and consuming

    def enqueue(
        self,
        package: str,
        *,
        task_id: str | None = None,
        delay: float = 0,
        priority: int = 0,
    ) -> str:
        """Gives the id of the message."""
        [name] = self._post(self.list_key, [message_of(package, delay)])
        return name

    def enqueue_many(self, consignments: Sequence[Consignment]) -> None:
        by_queue = defaultdict(list)
        for package, queue, _task_id, delay, _priority in consignments:
            by_queue[queue].append(message_of(package, delay))
        for queue, messages in by_queue.items():
            for load in parcels(messages):
                self._post(queue, load)

    def dequeue(self, count: int | None = None) -> list[Delivery]:
        self._remove_settled()
        wanted = min(count or get_options().bulk or 1, MOST_AT_ONCE)
        # Who serves a cluster has others to listen to meanwhile.
        wait = 0 if self._is_enlisted else 1
        self._found_all = True
        order = {"n": wanted, "timeout": int(self.lease_length), "wait": wait}
        try:
            answer = self._ask("POST", "/reservations", {**order, "delete": False})
        except Refused as error:
            if error.status != NOT_THERE:
                raise
            # The first message makes the queue.
            return []
        messages = answer.get("messages") or []
        self._found_all = len(messages) < wanted
        return [deliver(message) for message in messages]

    def acknowledge(self, receipt: str) -> bool:
        return bool(IronMQBroker.acknowledge_many(self, [receipt]))

    def acknowledge_many(self, receipts: Sequence[str]) -> set[str]:
        """Gives all: what is not there any more was acknowledged before, and what a
        colleague has renewed since is removed by that one.
        """
        for load in loads(receipts):
            messages = [self._shown(receipt) for receipt in load]
            try:
                self._ask("DELETE", "/messages", {"ids": messages})
            except Refused as error:
                if error.status not in NOT_OURS:
                    raise
                # One is enough to refuse all.
                for receipt in load:
                    self._insist(receipt, "DELETE", "")
        for receipt in receipts:
            self._renewed.pop(receipt, None)
        return set(receipts)

    fail = delete = acknowledge

    # -- the queue as a whole

    def queue_size(self) -> int:
        return int(self._about().get("size", 0))

    def lock_size(self) -> int:
        return int(self._about().get("reserved", 0))

    def purge_queue(self) -> None:
        self._if_there("DELETE", "/messages", {})

    def delete_queue(self) -> None:
        self._if_there("DELETE", "")

    def peek(self, count: int = 10) -> list[str]:
        """The next packages, without taking them."""
        if count < 1:
            return []
        found = self._if_there("GET", f"/messages?n={min(count, MOST_AT_ONCE)}")
        return [message["body"] for message in found.get("messages") or []]

    def ping(self) -> bool:
        path_of(self.list_key)
        try:
            self.connection.ask("GET", "/queues?per_page=1")
        except BrokerUnavailable as error:
            logger.error("%s", error)
            raise
        return True

    def info(self) -> str:
        return "IronMQ"

    # -- reservations

    def enlist(self, cluster: str, lease: float) -> None:
        self._is_enlisted = True

    def pulse(self) -> float:
        # Each look is a request, and these are counted. But a hundred may be a part.
        return 1.0 if self._found_all else 0.001

    def renew(self, receipts: Sequence[str]) -> set[str]:
        """Touch each. A reservation that has ended can't be renewed."""
        self._remove_settled()
        return {receipt for receipt in receipts if self._touch(receipt)}

    def release(
        self, receipts: Sequence[str], *, delay: float = 0, failed: bool = False
    ) -> set[str]:
        """Give back, to the head of the queue. IronMQ counts deliveries, not failures.

        What a colleague has renewed since comes back when that reservation ends.
        """
        wait = {"delay": min(ceil(delay), LONGEST_DELAY)}
        released = {r for r in receipts if self._insist(r, "POST", "/release", wait)}
        for receipt in receipts:
            self._renewed.pop(receipt, None)
        return released

    def settle(self, receipts: Sequence[str]) -> None:
        self._settled |= self._renewed.keys() & set(receipts)
        self._remove_settled()

    def _remove_settled(self) -> None:
        if not self._settled:
            return
        try:
            IronMQBroker.acknowledge_many(self, list(self._settled))
        except BrokerError as error:
            # Tried again until the reservations end; then the tasks are repeated.
            logger.warning("Can't remove finished tasks: %s", clean(error))
        else:
            self._settled.clear()

    def close(self) -> None:
        self._remove_settled()
        self.connection.close()

    def _touch(self, receipt: str) -> bool:
        shown = self._shown(receipt)
        order = {**shown, "timeout": int(self.lease_length)}
        try:
            answer = self._ask("POST", f"/messages/{shown['id']}/touch", order)
        except Refused as error:
            if error.status not in NOT_OURS:
                raise
            self._renewed.pop(receipt, None)
            return False
        self._renewed[receipt] = answer["reservation_id"]
        return True

    def _insist(
        self, receipt: str, verb: str, what: str, order: dict[str, Any] | None = None
    ) -> bool:
        """Do something to a message by our reservation, or without one if it has ended.

        False: it is not there any more.
        """
        path = f"/messages/{self._shown(receipt)['id']}"
        ours = {"reservation_id": self._shown(receipt)["reservation_id"]}
        is_there = True
        for reservation in (ours, {}):
            try:
                self._ask(verb, path + what, {**reservation, **(order or {})})
            except Refused as error:
                if error.status not in NOT_OURS:
                    raise
                is_there = error.status != NOT_THERE
            else:
                return True
        return is_there

    def _shown(self, receipt: str) -> dict[str, str]:
        """A message, and the reservation by which it is ours."""
        name, _, reservation = receipt.partition(".")
        return {"id": name, "reservation_id": self._renewed.get(receipt, reservation)}

    # -- talking to IronMQ

    def _post(self, queue: str, messages: Sequence[dict[str, Any]]) -> list[str]:
        """Not repeated when the answer is lost: it would be other messages."""
        path, body = f"{path_of(queue)}/messages", {"messages": messages}
        try:
            answer = self.connection.ask("POST", path, body, again=False)
        except Refused as error:
            size = sum(map(size_of, messages))
            is_large = error.status == BAD and size > SURE_TO_FIT
            if error.status == TOO_LARGE or is_large:
                raise too_large(size, error) from error
            raise
        return [str(name) for name in answer["ids"]]

    def _ask(self, verb: str, path: str, body: Any = None) -> dict[str, Any]:
        return self.connection.ask(verb, path_of(self.list_key) + path, body)

    def _if_there(self, verb: str, path: str, body: Any = None) -> dict[str, Any]:
        """The same, or nothing where there is nothing."""
        try:
            return self._ask(verb, path, body)
        except Refused as error:
            if error.status != NOT_THERE:
                raise
            return {}

    def _about(self) -> dict[str, Any]:
        found: dict[str, Any] = self._if_there("GET", "").get("queue") or {}
        return found


def path_of(queue: str) -> str:
    """Raises ConfigurationError for a name that would lead elsewhere in a path."""
    if queue in {".", ".."}:
        raise odd_name("IronMQ", queue, "it means another place in a URL")
    return f"/queues/{quote(queue, safe='')}"


def message_of(package: str, delay: float) -> dict[str, Any]:
    """A package as it is posted."""
    if delay > LONGEST_DELAY:
        raise BrokerError("IronMQ can delay a task by seven days and no more.")
    return {"body": package, "delay": ceil(delay)} if delay > 0 else {"body": package}


def deliver(message: dict[str, Any]) -> Delivery:
    """A message as it is handed out. That it was reserved before is all that is known."""
    receipt = f"{message['id']}.{message['reservation_id']}"
    times = max(1, int(message.get("reserved_count", 1)))
    return Delivery(receipt, message["body"], deliveries=times, attempts=times - 1)


def loads(things: Sequence[T]) -> Iterator[Sequence[T]]:
    """The same in portions that IronMQ takes at once."""
    for begin in range(0, len(things), MOST_AT_ONCE):
        yield things[begin : begin + MOST_AT_ONCE]


def parcels(messages: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """The same in portions whose size every plan allows; one message is one portion
    however large it is.
    """
    parcel: list[dict[str, Any]] = []
    size = 0
    for message in messages:
        size += size_of(message)
        if parcel and (len(parcel) == MOST_AT_ONCE or size > SURE_TO_FIT):
            yield parcel
            parcel, size = [], size_of(message)
        parcel.append(message)
    if parcel:
        yield parcel


def size_of(message: dict[str, Any]) -> int:
    """Bytes of a message in a request, with what stands before the next."""
    return len(json.dumps(message)) + 2


def too_large(size: int, error: Refused) -> PackageTooLarge:
    message = f"IronMQ refuses {size / 1024:.0f} KiB: {error.reason}."
    hint = "Its plans allow 64 or 256 KiB. Pass a file name or an id instead."
    return PackageTooLarge(message, hint=hint)
