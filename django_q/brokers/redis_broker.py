"""Redis: the list that producers have always pushed to, and nothing is lost from it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from math import inf
from time import monotonic, sleep
from typing import Any

from redis.exceptions import ConnectionError  # noqa: A004 - the client's name for it

from django_q.brokers.base import Broker, Consignment, Delivery, Stream
from django_q.brokers.contact import Contact
from django_q.brokers.loads import LARGEST_LOAD, loads
from django_q.brokers.redis_call import Call
from django_q.brokers.redis_cautions import cautions
from django_q.brokers.redis_client import at_home, connect, plain_words, version_of
from django_q.brokers.redis_cluster import is_cluster
from django_q.brokers.redis_finding import CANCEL, PEEK
from django_q.brokers.redis_keys import escaped, key_of, queue_of
from django_q.brokers.redis_looks import Looks
from django_q.brokers.redis_lua import Script
from django_q.brokers.redis_rights import require_rights
from django_q.brokers.redis_scripts import (
    ACKNOWLEDGE,
    ENQUEUE,
    FETCH,
    HELD,
    IS_PAUSED,
    MARK_STARTED,
    NEXT_DUE,
    PAUSE,
    PURGE,
    REDELIVER,
    RELEASE,
    RENEW,
    RESCUE,
    RESUME,
    SIZES,
)
from django_q.brokers.redis_slips import (
    deliver,
    deliveries,
    fetched,
    new_token,
    one_line,
    words_of,
)
from django_q.brokers.redis_stream import opener
from django_q.brokers.redis_talk import ask
from django_q.conf import get_options
from django_q.exceptions import BrokerUnavailable
from django_q.humanhash import humanize
from django_q.logs import logger


class Redis(Broker):
    """Carries packages in a list of Redis, and beside it what it promises about them.

    What is taken belongs to the cluster that took it, in a hash of its own, for as long
    as the cluster's lease stands by the clock of Redis. The receipt is the field in that
    hash and changes with each delivery, so it is also the fence: whoever was rescued has
    nothing there any more. `list_key` is the key of the list.
    """

    supports_receipts = True
    supports_leases = True
    supports_delay = True
    supports_ids = True
    supports_once = True
    supports_bulk = True
    supports_priority = True
    supports_cancel = True
    supports_peek = True
    supports_pause = True
    supports_news = True

    connection: Any

    def __init__(self, list_key: str | None = None) -> None:
        queue = list_key or get_options().queue
        super().__init__(key_of(queue))
        self.list_key = key_of(queue, is_cluster=is_cluster(self.connection))
        self._prepare()

    def __setstate__(self, state: tuple[str, str | None]) -> None:
        super().__setstate__(state)
        self._prepare()

    def _prepare(self) -> None:
        self.connection = at_home(self.connection, self.list_key)
        self._holder: str | None = None
        self._contact = Contact(float(get_options().retry))
        self._call: Call | None = None
        self._found_all = self._found_paused = False
        self._unheard: dict[str, float] = {}
        self._looks = Looks(self._ask, self.list_key)

    @staticmethod
    def get_connection(list_key: str | None = None) -> Any:
        """A client; it connects with its first command, and in each process anew."""
        return connect(get_options())

    @property
    def short_key(self) -> str:
        return queue_of(self.list_key, is_cluster=is_cluster(self.connection))

    # -- producing and consuming

    def enqueue(
        self,
        package: str,
        *,
        task_id: str | None = None,
        delay: float = 0,
        priority: int = 0,
        once: bool = False,
    ) -> str | int:
        """Gives the task's id, or else the length of the list."""
        one = Consignment(package, "", task_id, delay, priority)
        length = self._enqueue(self.list_key, [one], once=once)
        return task_id or length

    def enqueue_many(self, consignments: Sequence[Consignment]) -> None:
        has_nodes = is_cluster(self.connection)
        by_key = defaultdict(list)
        for each in consignments:
            by_key[key_of(each.queue, is_cluster=has_nodes)].append(each)
        for key, some in by_key.items():
            for load in loads(some):
                self._enqueue(key, load)

    def stream_opener(self) -> Callable[[], Stream] | None:
        return opener(self.connection)

    def dequeue(self, count: int | None = None) -> list[Delivery]:
        wanted = count or get_options().bulk or 1
        taken = self._fetch(wanted)
        if not taken and self._holder is None:
            # Whoever asks for one cluster's turn after another's is not called.
            sleep(get_options().poll)
            taken = self._fetch(wanted)
        self._found_all = len(taken) < wanted
        return taken

    def acknowledge(self, receipt: str) -> bool:
        return bool(Redis.acknowledge_many(self, [receipt]))

    def acknowledge_many(self, receipts: Sequence[str]) -> set[str]:
        return self._finish(ACKNOWLEDGE, receipts)

    fail = delete = acknowledge

    def cancel(self, task_id: str) -> bool:
        """Where it must be looked for in the list, this is done in portions from the end on:
        then others are not kept waiting, and what comes and goes meanwhile hides nothing.
        """
        answer = 0
        while True:
            words = (one_line(task_id), -answer)
            answer = int(self._run(CANCEL, *words, twice=False))
            if answer >= 0:
                return bool(answer)

    def peek(self, count: int = 10) -> list[str]:
        return [text.decode(errors="replace") for text in self._run(PEEK, count)]

    # -- the queue as a whole

    def queue_size(self) -> int:
        return int(self._run(SIZES)[0])

    def lock_size(self) -> int:
        return int(self._run(SIZES)[1])

    def purge_queue(self) -> None:
        self._run(PURGE)

    delete_queue = purge_queue

    def pause(self) -> None:
        self._run(PAUSE)

    def resume(self) -> None:
        self._run(RESUME)

    def is_paused(self) -> bool:
        return bool(self._run(IS_PAUSED))

    def ping(self) -> bool:
        try:
            answered = bool(self._ask("PING"))
            require_rights(self._run)
        except BrokerUnavailable as error:
            logger.error("%s", error)
            raise
        return answered

    def info(self) -> str:
        if self._info is None:
            with plain_words(self.connection):
                self._info = f"Redis {version_of(self.connection)}".strip()
        return self._info

    def cautions(self) -> list[str]:
        with plain_words(self.connection):
            return cautions(self.connection)

    # -- leases

    def enlist(self, cluster: str, lease: float) -> None:
        self._holder, self._contact = cluster, Contact(lease)

    def renew(self, receipts: Sequence[str]) -> set[str]:
        ours: set[str] = set()
        for holder, some in self._by_holder(receipts):
            found = self._run(RENEW, holder, self._lease_length, *some)
            ours |= {receipt.decode() for receipt in found}
        return ours

    def held(self) -> list[Delivery]:
        if self._holder is None:
            return []
        return deliveries(self._run(HELD, self._holder))

    def redeliver(self, receipt: str) -> Delivery | None:
        holder, token = self._holder_of(receipt), new_token()
        again = f"{token}:00000" if self._holder else f"{holder}:{token}"
        slip = self._run(REDELIVER, holder, self._lease_length, receipt, again)
        return None if slip is None else deliver(again, slip)

    def mark_started(self, receipts: Sequence[str]) -> None:
        for holder, some in self._by_holder(receipts):
            self._run(MARK_STARTED, holder, *some, twice=False)

    def release(
        self, receipts: Sequence[str], *, delay: float = 0, failed: bool = False
    ) -> set[str]:
        pause = int(delay * 1000)
        return self._finish(RELEASE, receipts, new_token(), pause, int(failed))

    def rescue(self) -> list[str]:
        has_others = self._looks.finds_others(self._holder or "")
        return self._rescue() if has_others and self._contact.is_steady else []

    def rescue_from(self, cluster: str) -> list[str]:
        return self._rescue(cluster)

    # -- waking up

    def news_fd(self) -> int | None:
        if self._holder is None:
            return None
        if self._found_all:
            self._open_call().ask(self._found_paused)
        return None if self._call is None else self._call.descriptor

    def has_news(self) -> bool:
        if self._holder is None or not self._found_all:
            return True
        call = self._open_call()
        call.ask(self._found_paused)
        self._found_all = not call.is_answered()
        return not self._found_all

    def pulse(self) -> float:
        if self._call is None or self._call.is_useless:
            return super().pulse()
        return self._call.rest

    def may_miss(self) -> bool:
        is_called = self._call is not None and self._call.descriptor is not None
        return not is_called or self._looks.finds_delayed()

    def next_due(self) -> float | None:
        rest = self._run(NEXT_DUE)
        return None if rest is None else rest / 1000

    def close(self) -> None:
        if self._call is not None:
            self._call.end()
            self._call = None
        self.connection.close()

    def _open_call(self) -> Call:
        if self._call is None:
            self._call = Call(self.connection, self.list_key)
        return self._call

    # -- vital signs

    def set_stat(self, key: str, value: str, timeout: float = 3) -> None:
        self._ask("SET", key, value, "PX", max(1, int(timeout * 1000)))

    def get_stat(self, key: str) -> str | None:
        return self._values([key])[0]

    def get_stats(self, pattern: str) -> list[str]:
        start = pattern.removesuffix("*")
        with plain_words(self.connection):
            keys = self.connection.scan_iter(f"{escaped(start)}*", count=1000)
            found = sorted(set(keys))
        return [value for value in self._values(found) if value is not None]

    def _values(self, keys: Sequence[Any]) -> list[str | None]:
        values = self._ask("MGET", *keys) if keys else []
        return [value and value.decode(errors="replace") for value in values]

    # -- talking to Redis

    def _run(self, script: Script, *arguments: Any, twice: bool = True) -> Any:
        """What a script says about this queue."""
        return self._talk(
            partial(script, self.connection, self.list_key, *arguments), twice=twice
        )

    def _ask(self, command: str, *words: Any) -> Any:
        return self._talk(partial(ask, self.connection, command, *words), twice=True)

    def _talk(self, question: Callable[[], Any], *, twice: bool) -> Any:
        """The answer; errors say what to do.

        `twice`: it may be asked again when the connection was lost meanwhile.
        """
        try:
            with plain_words(self.connection):
                try:
                    answer = question()
                except ConnectionError:
                    if not twice:
                        raise
                    answer = question()
        except BrokerUnavailable:
            self._contact.lose()
            raise
        self._contact.note()
        return answer

    def _enqueue(
        self, key: str, load: Sequence[Consignment], *, once: bool = False
    ) -> int:
        words = [word for each in load for word in words_of(each, once=once)]
        # What has an id is queued once, however often we say it.
        named = all(each.task_id for each in load)
        question = partial(ENQUEUE, self.connection, key, new_token(), *words)
        return int(self._talk(question, twice=named))

    def _fetch(self, count: int) -> list[Delivery]:
        token = new_token()
        # Nobody in particular holds each handful by itself: its lease is not renewed.
        holder, is_nobody = self._holder or token, self._holder is None
        limits = (self._lease_length, count, LARGEST_LOAD, int(is_nobody))
        found = self._run(FETCH, token, holder, *limits)
        self._found_paused = found is None
        return fetched(token, found or [])

    def _finish(
        self, script: Script, receipts: Sequence[str], *arguments: Any
    ) -> set[str]:
        """Let go of what is still ours, and give its receipts.

        When the answer is lost, it was perhaps done. Asked again before anybody could
        rescue it, what is not there any more was ours.
        """
        ours = self._still_ours(receipts)
        for holder, some in self._by_holder(dict.fromkeys(receipts)):
            try:
                lost = self._run(script, holder, *arguments, *some, twice=False)
            except BrokerUnavailable:
                self._unheard |= dict.fromkeys(some, monotonic())
                raise
            ours |= set(some) - {receipt.decode() for receipt in lost}
        return ours

    def _rescue(self, *dead: str) -> list[str]:
        found = self._run(RESCUE, self._holder or "", self.rescued_at_once, *dead)
        texts = [item.decode(errors="replace") for item in found]
        named = zip(texts[::2], texts[1::2], strict=True)
        return [f"task {name} from {humanize(cluster)}" for cluster, name in named]

    def _still_ours(self, receipts: Sequence[str]) -> set[str]:
        since = monotonic() - self._contact.lease / 2
        asked = {receipt: self._unheard.pop(receipt, -inf) for receipt in receipts}
        return {receipt for receipt, when in asked.items() if when > since}

    def _by_holder(self, receipts: Iterable[str]) -> Iterable[tuple[str, list[str]]]:
        by_holder = defaultdict(list)
        for receipt in receipts:
            by_holder[self._holder_of(receipt)].append(receipt)
        return by_holder.items()

    def _holder_of(self, receipt: str) -> str:
        """The cluster that we are of, or else whoever the receipt was given to."""
        return self._holder or receipt.partition(":")[0]

    @property
    def _lease_length(self) -> int:
        return int(self._contact.lease * 1000)
