"""What every broker promises; each broker's own file subclasses this."""

from __future__ import annotations

import pickle
import select
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import pytest
from django.db import transaction

from django_q.brokers import Broker, Consignment, Delivery, verbs
from django_q.envelope import Envelope
from django_q.tasks import async_bulk
from tests.waiting import wait_until

PACKAGES = {
    "plain": "gAWVDwAAAAAAAAB9lC4:1abcdE:signature",
    "empty": "",
    "other alphabets": "Grüße, 世界, 🚀",
    "long": "long " * 200_000,
    "quotes and escapes": """ ' " \\ % %s ? {} $1 \n\t""",
}

Test = TypeVar("Test", bound=Callable[..., None])


def needs(flag: str) -> Callable[[Test], Test]:
    """The test is for brokers that raise this flag, and those of its other marks."""

    def mark(test: Test) -> Test:
        test.needs = [flag, *getattr(test, "needs", ())]  # type: ignore[attr-defined]
        return test

    return mark


needs_receipts = needs("supports_receipts")
needs_leases = needs("supports_leases")
needs_renewal = needs("can_renew")
needs_delay = needs("supports_delay")
needs_ids = needs("supports_ids")
needs_priority = needs("supports_priority")
needs_cancel = needs("supports_cancel")
needs_peek = needs("supports_peek")
needs_pause = needs("supports_pause")
needs_news = needs("supports_news")
needs_atomic = needs("supports_atomic")


def new_id() -> str:
    return uuid.uuid4().hex


def take(broker: Broker, count: int | None = None) -> list[Delivery]:
    return [Delivery.of(pair) for pair in broker.dequeue(count) or []]


def take_one(broker: Broker) -> Delivery:
    """The next package; fails unless there is one."""
    return wait_until(lambda: take(broker, 1))[0]


def receipt_of(delivery: Delivery) -> str:
    assert delivery.receipt is not None
    return delivery.receipt


def receipts_of(deliveries: Sequence[Delivery]) -> list[str]:
    return [receipt_of(delivery) for delivery in deliveries]


def packages_of(deliveries: Sequence[Delivery]) -> list[str]:
    return [delivery.package for delivery in deliveries]


def at_once(work: Callable[[int], Any], threads: int) -> list[Any]:
    """What `work` gives in so many threads that begin together."""
    barrier = threading.Barrier(threads)
    given: list[Any] = [None] * threads

    def run(number: int) -> None:
        barrier.wait()
        given[number] = work(number)

    running = [threading.Thread(target=run, args=(n,)) for n in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return given


class BrokerContract:
    """Subclasses say how a broker is made and how its time passes."""

    server_tells_news = True
    """False: the broker supports news, but this kind of its server does not."""

    tells_next_due = True
    """False: the server itself calls whoever waits, and nobody need know when."""

    @pytest.fixture
    def queue(self) -> str:
        return f"contract-{new_id()[:8]}"

    @pytest.fixture
    def open_broker(self, q_settings: Any) -> Iterator[Callable[[str], Broker]]:
        """Opens brokers, and closes them in the end."""
        q_settings(retry=30, poll=0.02)
        opened: list[Broker] = []

        def open_one(queue: str) -> Broker:
            opened.append(self.make_broker(queue))
            return opened[-1]

        yield open_one
        for broker in opened:
            broker.close()

    @pytest.fixture
    def broker(
        self,
        request: pytest.FixtureRequest,
        queue: str,
        open_broker: Callable[[str], Broker],
    ) -> Broker:
        broker = open_broker(queue)
        for flag in getattr(request.function, "needs", ()):
            if not getattr(broker, flag):
                pytest.skip(f"{broker.info()} does not say {flag}")
        return broker

    @pytest.fixture
    def other(self, queue: str, open_broker: Callable[[str], Broker]) -> Broker:
        """Another broker on the same queue."""
        return open_broker(queue)

    def make_broker(self, queue: str) -> Broker:
        raise NotImplementedError

    def pass_time(self, broker: Broker, seconds: float) -> None:
        """As if so much time had passed for what is on the queue."""
        raise NotImplementedError

    def in_thread(self, work: Callable[[], Any]) -> Any:
        """Do something in another thread; close there what it opened."""
        return work()

    # -- producing and consuming

    @pytest.mark.parametrize("package", PACKAGES.values(), ids=PACKAGES)
    def test_package_comes_back_byte_for_byte(self, broker: Broker, package: str):
        broker.enqueue(package)
        assert take_one(broker).package == package

    def test_delivery_is_a_pair_of_receipt_and_package(self, broker: Broker):
        broker.enqueue("a")
        pairs = list(broker.dequeue() or [])
        for receipt, package in pairs:
            assert package == "a"
            assert (receipt is None) is not broker.supports_receipts
        assert len(pairs) == 1

    def test_packages_come_in_the_order_in_which_they_were_enqueued(
        self, broker: Broker
    ):
        for number in range(10):
            broker.enqueue(str(number))
        taken = [take_one(broker).package for _ in range(10)]
        assert taken == [str(number) for number in range(10)]

    def test_many_packages_come_in_order(self, broker: Broker):
        packages = [f"{number:03}" for number in range(60)]
        broker.enqueue_many([Consignment(p, broker.short_key) for p in packages])
        taken: list[str] = []
        while len(taken) < 60:
            taken += sorted(packages_of(take(broker, 20)))
        assert taken == packages

    def test_empty_queue_gives_nothing_soon(self, broker: Broker):
        begun = time.monotonic()
        assert not broker.dequeue()
        assert time.monotonic() - begun < 5

    def test_no_more_than_asked_for_is_taken(self, broker: Broker):
        for number in range(5):
            broker.enqueue(str(number))
        assert len(take(broker, 3)) == 3
        assert len(take(broker, 3)) == 2

    def test_setting_bulk_says_how_many_are_taken(
        self, broker: Broker, q_settings: Any
    ):
        q_settings(bulk=2, retry=30, poll=0.02)
        for number in range(3):
            broker.enqueue(str(number))
        assert len(take(broker)) == 2

    def test_queues_do_not_mix(
        self, broker: Broker, queue: str, open_broker: Callable[[str], Broker]
    ):
        elsewhere = open_broker(f"{queue}-other")
        broker.enqueue("here")
        elsewhere.enqueue("there")
        assert packages_of(take(elsewhere, 5)) == ["there"]
        assert packages_of(take(broker, 5)) == ["here"]

    def test_many_packages_go_to_the_queues_that_they_name(
        self, broker: Broker, queue: str, open_broker: Callable[[str], Broker]
    ):
        elsewhere = open_broker(f"{queue}-other")
        queues = (queue, elsewhere.short_key, queue)
        packages = [Consignment(str(n), name) for n, name in enumerate(queues)]
        broker.enqueue_many(packages)
        assert sorted(packages_of(take(broker, 5))) == ["0", "2"]
        assert packages_of(take(elsewhere, 5)) == ["1"]

    def test_tasks_come_in_bulk(self, broker: Broker):
        ids = async_bulk("a.b", ((number,) for number in range(5)), broker=broker)
        envelopes = [Envelope.open(package) for package in packages_of(take(broker, 5))]
        assert sorted(each.id for each in envelopes) == sorted(ids)
        assert sorted(each.args for each in envelopes) == [(n,) for n in range(5)]

    def test_tasks_are_streamed_in_bulk(self, broker: Broker):
        ids = async_bulk("a.b", [(number,) for number in range(5)], broker=broker)
        envelopes = [Envelope.open(package) for package in packages_of(take(broker, 5))]
        assert sorted(each.id for each in envelopes) == sorted(ids)

    def test_any_text_arrives_as_it_was(self, broker: Broker, queue: str):
        texts = [
            '"',
            "it's",
            "\\",
            "\\n",
            "a\nb\tc",
            "%s",
            "{0}",
            "null",
            "[null]",
            "ü€😀",
        ]
        broker.enqueue_many([Consignment(text, queue) for text in texts])
        assert sorted(packages_of(take(broker, len(texts)))) == sorted(texts)

    def test_nothing_is_enqueued_by_enqueuing_nothing(self, broker: Broker):
        broker.enqueue_many([])
        assert broker.queue_size() == 0

    def test_two_consumers_never_get_the_same_package(self, broker: Broker, queue: str):
        packages = [str(number) for number in range(200)]
        broker.enqueue_many([Consignment(package, queue) for package in packages])

        def consume(_number: int) -> list[str]:
            def until_empty() -> list[str]:
                mine = self.make_broker(queue)
                taken: list[str] = []
                while some := take(mine, 7):
                    taken += packages_of(some)
                return taken

            taken: list[str] = self.in_thread(until_empty)
            return taken

        taken = [package for some in at_once(consume, 4) for package in some]
        assert sorted(taken) == sorted(packages)

    # -- receipts

    @needs_receipts
    def test_unacknowledged_package_comes_back(self, broker: Broker):
        broker.enqueue("again")
        first = take_one(broker)
        assert take(broker) == []
        self.pass_time(broker, 31)
        second = take_one(broker)
        assert second.package == "again"
        assert second.receipt != first.receipt
        assert second.deliveries == 2

    @needs_receipts
    def test_acknowledged_package_never_comes_back(self, broker: Broker):
        broker.enqueue("done")
        broker.acknowledge(receipt_of(take_one(broker)))
        self.pass_time(broker, 31)
        assert take(broker) == []

    @needs_receipts
    def test_acknowledging_twice_is_harmless(self, broker: Broker):
        broker.enqueue("done")
        broker.enqueue("next")
        receipt = receipt_of(take_one(broker))
        broker.acknowledge(receipt)
        broker.acknowledge(receipt)
        assert take_one(broker).package == "next"

    @needs_receipts
    @pytest.mark.parametrize("verb", ["acknowledge", "fail", "delete"])
    def test_package_is_removed_by(self, broker: Broker, verb: str):
        broker.enqueue("gone")
        getattr(broker, verb)(receipt_of(take_one(broker)))
        assert broker.queue_size() + broker.lock_size() == 0

    @needs_receipts
    def test_another_instance_may_acknowledge(self, broker: Broker, other: Broker):
        broker.enqueue("done")
        other.acknowledge(receipt_of(take_one(broker)))
        assert broker.lock_size() == 0

    @needs_receipts
    def test_many_are_acknowledged_at_once(self, broker: Broker):
        for number in range(5):
            broker.enqueue(str(number))
        receipts = receipts_of(take(broker, 5))
        assert broker.acknowledge_many(receipts[:4]) == set(receipts[:4])
        assert broker.lock_size() == 1
        assert broker.acknowledge_many([]) == set()

    @needs_receipts
    def test_sizes_are_right_at_every_step(self, broker: Broker):
        sizes = [(broker.queue_size(), broker.lock_size())]
        for number in range(3):
            broker.enqueue(str(number))
        sizes.append((broker.queue_size(), broker.lock_size()))
        delivery = take_one(broker)
        sizes.append((broker.queue_size(), broker.lock_size()))
        broker.acknowledge(receipt_of(delivery))
        sizes.append((broker.queue_size(), broker.lock_size()))
        assert sizes == [(0, 0), (3, 0), (2, 1), (2, 0)]

    # -- the queue as a whole

    @pytest.mark.parametrize("verb", ["purge_queue", "delete_queue"])
    def test_nothing_is_left_after(self, broker: Broker, verb: str):
        for number in range(3):
            broker.enqueue(str(number))
        take_one(broker)
        getattr(broker, verb)()
        assert broker.queue_size() + broker.lock_size() == 0
        assert take(broker) == []

    def test_other_queues_are_not_purged(
        self, broker: Broker, queue: str, open_broker: Callable[[str], Broker]
    ):
        elsewhere = open_broker(f"{queue}-other")
        elsewhere.enqueue("stays")
        broker.purge_queue()
        broker.delete_queue()
        assert elsewhere.queue_size() == 1

    def test_ping_answers(self, broker: Broker):
        assert broker.ping() is True

    def test_info_says_what_it_is(self, broker: Broker):
        assert broker.info()

    def test_broker_survives_pickling(self, broker: Broker):
        broker.enqueue("sent on")
        copy = pickle.loads(pickle.dumps(broker))
        assert copy.list_key == broker.list_key
        assert take_one(copy).package == "sent on"

    def test_closed_broker_opens_anew(self, broker: Broker):
        broker.has_news()
        broker.close()
        broker.enqueue("later")
        broker.has_news()
        assert take_one(broker).package == "later"

    # -- delays

    @needs_delay
    def test_delayed_package_waits_for_its_time(self, broker: Broker):
        broker.enqueue("later", delay=60)
        broker.enqueue("now")
        assert packages_of(take(broker, 5)) == ["now"]
        self.pass_time(broker, 61)
        assert "later" in packages_of(take(broker, 5))

    @needs_delay
    def test_next_due_tells_when_a_delayed_package_is_due(self, broker: Broker):
        if not self.tells_next_due:
            pytest.skip("its server calls when a package is due")
        assert broker.next_due() is None
        broker.enqueue("now")
        assert broker.next_due() is None
        broker.enqueue("latest", delay=500)
        broker.enqueue("later", delay=60)
        due = broker.next_due()
        assert due is not None
        assert 50 < due < 61

    @needs_delay
    def test_fraction_of_a_second_is_waited_for(self, broker: Broker):
        broker.enqueue("soon", delay=0.15)
        assert take(broker) == []
        begun = time.monotonic()
        wait_until(lambda: take(broker))
        assert time.monotonic() - begun < 5

    @needs_delay
    def test_packages_that_come_at_once_wait_each_for_its_own_time(
        self, broker: Broker, queue: str
    ):
        delays = {"later": 60, "soon": 0.15, "now": 0}
        broker.enqueue_many(
            [Consignment(name, queue, None, delay) for name, delay in delays.items()]
        )
        taken: list[str] = []

        def all_but_the_latest_came() -> bool:
            taken.extend(packages_of(take(broker, 5)))
            return len(taken) == 2

        wait_until(all_but_the_latest_came)
        assert sorted(taken) == ["now", "soon"]
        self.pass_time(broker, 61)
        assert "later" in packages_of(take(broker, 5))

    # -- ids

    @needs_ids
    def test_queued_twice_is_queued_once(self, broker: Broker):
        task_id = new_id()
        first = broker.enqueue("once", task_id=task_id)
        assert broker.enqueue("once", task_id=task_id) == first
        assert broker.queue_size() == 1

    @needs_ids
    def test_queued_twice_is_queued_once_among_many(self, broker: Broker, queue: str):
        ids = [new_id() for _ in range(4)]
        broker.enqueue("0", task_id=ids[0])
        named = [Consignment(str(n), queue, task_id) for n, task_id in enumerate(ids)]
        broker.enqueue_many([*named, named[-1], Consignment("nameless", queue)])
        assert broker.queue_size() == 5

    @needs_ids
    def test_task_that_is_done_can_be_queued_again(self, broker: Broker):
        task_id = new_id()
        broker.enqueue("first", task_id=task_id)
        broker.acknowledge(receipt_of(take_one(broker)))
        broker.enqueue("second", task_id=task_id)
        assert take_one(broker).package == "second"

    @needs_ids
    def test_eight_producers_of_one_task_queue_it_once(
        self, broker: Broker, queue: str
    ):
        task_id = new_id()

        def produce(_number: int) -> Any:
            def enqueue() -> Any:
                return self.make_broker(queue).enqueue("once", task_id=task_id)

            return self.in_thread(enqueue)

        given = at_once(produce, 8)
        assert broker.queue_size() == 1
        assert len(set(given)) == 1

    # -- priorities

    def rank(self, broker: Broker) -> None:
        """Queue what `ranked` gives, in another order."""
        for package, priority in (("0", 0), ("-9", -9), ("7", 7), ("also 0", 0)):
            broker.enqueue(package, priority=priority)
        more = {"100": 100, "-100": -100, "also 7": 7}
        broker.enqueue_many(
            [Consignment(p, broker.short_key, None, 0, n) for p, n in more.items()]
        )

    ranked = ("100", "7", "also 7", "0", "also 0", "-9", "-100")

    @needs_priority
    def test_higher_priority_comes_first_and_equals_in_order(self, broker: Broker):
        self.rank(broker)
        assert [take_one(broker).package for _ in self.ranked] == list(self.ranked)

    @needs_priority
    def test_one_handful_holds_those_of_the_highest_priority(self, broker: Broker):
        self.rank(broker)
        assert sorted(packages_of(take(broker, 3))) == ["100", "7", "also 7"]

    @needs_priority
    def test_priority_beyond_the_bounds_counts_as_the_bound(self, broker: Broker):
        for package, priority in (("-100", -100), ("-999", -999), ("100", 100)):
            broker.enqueue(package, priority=priority)
        broker.enqueue_many([Consignment("999", broker.short_key, priority=999)])
        taken = [take_one(broker).package for _ in range(4)]
        assert taken == ["100", "999", "-100", "-999"]

    @needs_priority
    def test_released_package_keeps_its_priority(self, broker: Broker, other: Broker):
        broker.enlist(new_id(), 30)
        for priority in (1, 1, -1, -1):
            broker.enqueue(f"{priority}", priority=priority)
        broker.release(receipts_of(take(broker, 4)))
        broker.enqueue("0")
        broker.enqueue("5", priority=5)
        taken = [take_one(other).package for _ in range(6)]
        assert taken == ["5", "1", "1", "0", "-1", "-1"]

    @needs_priority
    @needs_receipts
    def test_package_that_comes_back_keeps_its_priority(self, broker: Broker):
        broker.enqueue("first", priority=5)
        take_one(broker)
        self.pass_time(broker, 31)
        for _ in range(3):
            broker.enqueue("plain")
        assert take_one(broker).package == "first"

    @needs_priority
    @needs_delay
    def test_delayed_package_has_its_priority_when_it_is_due(self, broker: Broker):
        broker.enqueue("late and low", delay=20, priority=-3)
        broker.enqueue("late and high", delay=20, priority=3)
        self.pass_time(broker, 21)
        broker.enqueue("plain")
        taken = [take_one(broker).package for _ in range(3)]
        assert taken == ["late and high", "plain", "late and low"]

    @needs_priority
    @needs_leases
    def test_package_that_waits_after_a_failure_keeps_its_priority(
        self, broker: Broker
    ):
        broker.enlist(new_id(), 30)
        broker.enqueue("flaky", priority=3)
        broker.release(receipts_of([take_one(broker)]), delay=60, failed=True)
        broker.enqueue("plain")
        self.pass_time(broker, 61)
        assert take_one(broker).package == "flaky"

    @needs_priority
    def test_sizes_count_packages_of_every_priority(self, broker: Broker):
        self.rank(broker)
        assert broker.queue_size() == len(self.ranked)
        take_one(broker)
        assert broker.queue_size() == len(self.ranked) - 1
        broker.purge_queue()
        assert broker.queue_size() + broker.lock_size() == 0
        assert take(broker) == []

    # -- cancelling

    @needs_cancel
    @pytest.mark.parametrize("options", [{}, {"delay": 60}, {"priority": 5}], ids=str)
    def test_waiting_task_is_cancelled_by_its_id(
        self, broker: Broker, options: dict[str, Any]
    ):
        task_id = new_id()
        broker.enqueue("before")
        broker.enqueue("unwanted", task_id=task_id, **options)
        broker.enqueue("after")
        assert broker.cancel(task_id) is True
        assert broker.cancel(task_id) is False
        self.pass_time(broker, 61)
        assert [take_one(broker).package for _ in range(2)] == ["before", "after"]
        assert broker.queue_size() == 0

    @needs_cancel
    def test_only_the_named_task_is_cancelled(self, broker: Broker, queue: str):
        ids = [new_id() for _ in range(5)]
        # Two tasks may well be the same package.
        broker.enqueue_many([Consignment("same", queue, task_id) for task_id in ids])
        assert broker.cancel(ids[3])
        assert broker.queue_size() == 4
        assert not broker.cancel(new_id())

    @needs_cancel
    def test_task_that_a_cluster_has_is_not_cancelled(self, broker: Broker):
        task_id = new_id()
        broker.enlist(new_id(), 30)
        broker.enqueue("running", task_id=task_id)
        receipt = receipt_of(take_one(broker))
        assert broker.cancel(task_id) is False
        assert broker.acknowledge_many([receipt]) == {receipt}

    @needs_cancel
    def test_task_that_was_given_back_can_be_cancelled(self, broker: Broker):
        task_id = new_id()
        broker.enlist(new_id(), 30)
        broker.enqueue("given back", task_id=task_id)
        broker.release(receipts_of([take_one(broker)]))
        assert broker.cancel(task_id) is True
        assert broker.queue_size() == 0

    @needs_cancel
    def test_cancelled_task_can_be_queued_again(self, broker: Broker):
        task_id = new_id()
        broker.enqueue("first", task_id=task_id)
        broker.cancel(task_id)
        broker.enqueue("second", task_id=task_id)
        assert take_one(broker).package == "second"

    # -- looking at what waits

    @needs_peek
    def test_peeking_shows_what_comes_next_and_takes_nothing(self, broker: Broker):
        assert broker.peek() == []
        for number in range(4):
            broker.enqueue(str(number))
        assert broker.peek(3) == ["0", "1", "2"]
        assert broker.peek() == ["0", "1", "2", "3"]
        assert (broker.queue_size(), broker.lock_size()) == (4, 0)
        assert take_one(broker).package == "0"
        assert broker.peek(2) == ["1", "2"]

    @needs_peek
    @needs_delay
    def test_peeking_shows_nothing_that_waits_for_its_time(self, broker: Broker):
        broker.enqueue("later", delay=60)
        broker.enqueue("now")
        assert broker.peek() == ["now"]

    @needs_peek
    @needs_priority
    def test_peeking_shows_packages_in_the_order_of_their_priority(
        self, broker: Broker
    ):
        self.rank(broker)
        assert broker.peek() == list(self.ranked)

    # -- pausing

    @needs_pause
    def test_paused_queue_hands_out_nothing_to_anybody(
        self, broker: Broker, other: Broker
    ):
        assert broker.is_paused() is False
        broker.enqueue("before")
        broker.pause()
        broker.pause()
        broker.enqueue("after")
        assert other.is_paused() is True
        assert take(other) == []
        other.enlist(new_id(), 30)
        assert take(other) == []
        assert broker.queue_size() == 2
        other.resume()
        other.resume()
        assert broker.is_paused() is False
        assert [take_one(other).package for _ in range(2)] == ["before", "after"]

    @needs_pause
    def test_what_was_handed_out_goes_on_while_the_queue_is_paused(
        self, broker: Broker
    ):
        broker.enlist(new_id(), 30)
        for number in range(2):
            broker.enqueue(str(number))
        done, given_back = receipts_of(take(broker, 2))
        broker.pause()
        assert broker.renew([done]) == {done}
        assert broker.acknowledge_many([done]) == {done}
        assert broker.release([given_back]) == {given_back}
        assert take(broker) == []
        broker.resume()
        assert take_one(broker).package == "1"

    @needs_pause
    def test_other_queues_are_not_paused(
        self, broker: Broker, queue: str, open_broker: Callable[[str], Broker]
    ):
        elsewhere = open_broker(f"{queue}-other")
        broker.pause()
        elsewhere.enqueue("goes on")
        assert elsewhere.is_paused() is False
        assert take_one(elsewhere).package == "goes on"

    @needs_pause
    def test_resuming_makes_news(self, broker: Broker, other: Broker):
        other.enlist(new_id(), 30)
        other.pause()
        broker.enqueue("waits")
        take(other)
        wait_until(lambda: not other.has_news() or other.news_fd() is None)
        broker.resume()
        wait_until(other.has_news, within=5)
        assert take_one(other).package == "waits"

    # -- flags

    def test_many_travel_in_one_go_or_the_flag_is_down(self, broker: Broker):
        is_own = type(broker).enqueue_many is not Broker.enqueue_many
        assert is_own is broker.supports_bulk

    def test_verbs_without_their_flag_do_nothing(self, broker: Broker):
        """A flag that is down while the verb works would keep people from using it."""
        task_id = new_id()
        broker.enqueue("first", task_id=task_id)
        broker.enqueue("second", priority=50)
        if not broker.supports_peek:
            assert broker.peek() == []
        if not broker.supports_pause:
            broker.pause()
            assert broker.is_paused() is False
            broker.resume()
        if not broker.supports_cancel:
            assert broker.cancel(task_id) is False
        first = "second" if broker.supports_priority else "first"
        assert take_one(broker).package == first

    def test_delay_is_waited_for_or_the_flag_is_down(self, broker: Broker):
        verbs.enqueue(broker, "later", None, delay=60)
        assert bool(take(broker)) is not broker.supports_delay

    def test_one_id_is_one_task_or_the_flag_is_down(self, broker: Broker):
        task_id = new_id()
        for _ in range(2):
            broker.enqueue("twice", task_id=task_id)
        assert (broker.queue_size() == 1) is broker.supports_ids

    @needs_receipts
    def test_slot_that_has_ended_is_not_queued_again_or_the_flag_is_down(
        self, broker: Broker
    ):
        task_id = new_id()
        verbs.enqueue(broker, "slot", task_id, once=True)
        broker.acknowledge(receipt_of(take_one(broker)))
        verbs.enqueue(broker, "slot", task_id, once=True)
        assert bool(take(broker)) is not broker.supports_once

    # -- in a transaction

    def test_queue_in_a_transaction_has_a_database_or_the_flag_is_down(
        self, broker: Broker
    ):
        assert (broker.database is not None) is broker.supports_atomic

    @needs_atomic
    def test_package_is_locked_and_acknowledged_in_the_callers_transaction(
        self, broker: Broker, other: Broker
    ):
        broker.enlist(new_id(), 30)
        other.enlist(new_id(), 30)
        broker.enqueue("ours")
        receipt = receipt_of(take_one(broker))
        assert other.lock(receipt) is False
        assert other.has(receipt) is True
        with suppress(KeyError), transaction.atomic(using=broker.database):
            assert broker.lock(receipt) is True
            assert broker.acknowledge_many([receipt]) == {receipt}
            raise KeyError
        with transaction.atomic(using=broker.database):
            assert broker.lock(receipt) is True
            assert broker.acknowledge_many([receipt]) == {receipt}
        assert broker.lock(receipt) is False
        assert broker.has(receipt) is False

    # -- leases

    @needs_leases
    def test_what_a_cluster_takes_is_held_by_it(self, broker: Broker, other: Broker):
        broker.enlist(new_id(), 30)
        other.enlist(new_id(), 30)
        broker.enqueue("held")
        broker.enqueue("waiting")
        delivery = take_one(broker)
        assert [list(held) for held in broker.held()] == [list(delivery)]
        assert other.held() == []

    @needs_leases
    def test_colleague_of_the_same_cluster_may_acknowledge(
        self, broker: Broker, other: Broker
    ):
        cluster = new_id()
        broker.enlist(cluster, 30)
        other.enlist(cluster, 30)
        broker.enqueue("done")
        receipt = receipt_of(take_one(broker))
        assert other.acknowledge_many([receipt]) == {receipt}
        assert broker.held() == []

    @needs_renewal
    def test_renewed_lease_does_not_run_out(self, broker: Broker, other: Broker):
        broker.enlist(new_id(), 30)
        broker.enqueue("mine")
        receipt = receipt_of(take_one(broker))
        self.pass_time(broker, 20)
        assert broker.renew([receipt]) == {receipt}
        self.pass_time(broker, 20)
        assert take(other) == []
        assert broker.lock_size() == 1

    @needs_renewal
    def test_lapsed_lease_that_nobody_took_can_be_renewed(
        self, broker: Broker, other: Broker
    ):
        broker.enlist(new_id(), 30)
        broker.enqueue("mine")
        receipt = receipt_of(take_one(broker))
        self.pass_time(broker, 31)
        assert broker.renew([receipt]) == {receipt}
        assert take(other) == []

    @needs_leases
    def test_renewing_tells_which_leases_were_lost(self, broker: Broker, other: Broker):
        broker.enlist(new_id(), 30)
        broker.enqueue("lost")
        lost = receipt_of(take_one(broker))
        self.pass_time(broker, 31)
        take_one(other)
        broker.enqueue("kept")
        kept = receipt_of(take_one(broker))
        assert broker.renew([lost, kept]) == {kept}
        assert broker.renew([]) == set()

    @needs_leases
    def test_late_acknowledgement_removes_nothing(self, broker: Broker, other: Broker):
        broker.enlist(new_id(), 30)
        broker.enqueue("lost")
        lost = receipt_of(take_one(broker))
        self.pass_time(broker, 31)
        take_one(other)
        assert broker.acknowledge_many([lost]) == set()
        assert broker.release([lost]) == set()
        assert broker.redeliver(lost) is None
        broker.mark_started([lost])
        assert other.lock_size() == 1

    @needs_leases
    def test_lapsed_lease_waits_for_a_rescuer(self, broker: Broker, other: Broker):
        """A cluster that takes lapsed leases at once would rob others after an outage."""
        broker.enlist(new_id(), 30)
        other.enlist(new_id(), 30)
        broker.enqueue("mine")
        take_one(broker)
        self.pass_time(broker, 31)
        assert take(other) == []

    @needs_leases
    def test_redelivered_package_counts_a_start_and_has_a_new_receipt(
        self, broker: Broker
    ):
        broker.enlist(new_id(), 30)
        broker.enqueue("crashed")
        first = take_one(broker)
        second = broker.redeliver(receipt_of(first))
        assert second is not None
        assert second.package == "crashed"
        assert (second.deliveries, second.starts, second.attempts) == (2, 1, 0)
        assert broker.acknowledge_many(receipts_of([first])) == set()
        assert broker.acknowledge_many(receipts_of([first, second])) == {second.receipt}

    @needs_leases
    def test_redelivering_begins_the_lease_anew(self, broker: Broker, other: Broker):
        broker.enlist(new_id(), 30)
        broker.enqueue("crashed")
        first = take_one(broker)
        self.pass_time(broker, 20)
        broker.redeliver(receipt_of(first))
        self.pass_time(broker, 20)
        assert take(other) == []

    @needs_leases
    def test_counted_starts_come_with_the_next_delivery(
        self, broker: Broker, other: Broker
    ):
        broker.enlist(new_id(), 30)
        broker.enqueue("crashed")
        first = take_one(broker)
        broker.mark_started(receipts_of([first]))
        broker.mark_started([])
        self.pass_time(broker, 31)
        second = take_one(other)
        assert (second.deliveries, second.starts, second.attempts) == (2, 1, 0)

    @needs_leases
    def test_released_package_goes_back_to_the_head_of_the_queue(
        self, broker: Broker, other: Broker
    ):
        broker.enlist(new_id(), 30)
        for number in range(4):
            broker.enqueue(str(number))
        receipts = receipts_of(take(broker, 2))
        assert broker.release(receipts) == set(receipts)
        assert broker.held() == []
        assert [take_one(other).package for _ in range(4)] == ["0", "1", "2", "3"]

    @needs_leases
    def test_released_package_may_be_alone(self, broker: Broker, other: Broker):
        broker.enlist(new_id(), 30)
        broker.enqueue("alone")
        broker.release(receipts_of([take_one(broker)]))
        delivery = take_one(other)
        assert (delivery.deliveries, delivery.attempts) == (2, 0)
        assert broker.release([]) == set()

    @needs_leases
    def test_released_package_can_wait_and_counts_its_failed_attempt(
        self, broker: Broker
    ):
        broker.enlist(new_id(), 30)
        broker.enqueue("flaky")
        receipt = receipt_of(take_one(broker))
        assert broker.release([receipt], delay=60, failed=True) == {receipt}
        assert take(broker) == []
        due = broker.next_due()
        assert due is not None
        assert 50 < due < 61
        self.pass_time(broker, 61)
        again = take_one(broker)
        assert (again.deliveries, again.starts, again.attempts) == (2, 0, 1)

    @needs_leases
    def test_released_receipt_is_void(self, broker: Broker):
        broker.enlist(new_id(), 30)
        broker.enqueue("given back")
        receipt = receipt_of(take_one(broker))
        broker.release([receipt])
        assert broker.acknowledge_many([receipt]) == set()
        assert broker.renew([receipt]) == set()
        assert broker.queue_size() == 1

    @needs_renewal
    def test_deliveries_of_different_age_are_handled_together(self, broker: Broker):
        broker.enlist(new_id(), 30)
        broker.enqueue("old")
        broker.release(receipts_of([take_one(broker)]))
        broker.enqueue("new")
        receipts = receipts_of(take(broker, 2))
        assert broker.renew(receipts) == set(receipts)
        assert broker.acknowledge_many(receipts) == set(receipts)

    # -- rescue

    def lose(self, broker: Broker, package: str) -> None:
        """A cluster dies with a package in its hands."""
        broker.enlist(new_id(), 30)
        broker.enqueue(package, task_id=f"{package}-{new_id()[:8]}")
        take_one(broker)
        self.pass_time(broker, 31)

    @needs_leases
    def test_dead_clusters_packages_are_rescued(self, broker: Broker, other: Broker):
        self.lose(broker, "lost")
        other.enlist(new_id(), 0.1)
        [text] = wait_until(other.rescue)
        assert "lost" in text
        assert other.rescue() == []
        delivery = take_one(other)
        assert (delivery.package, delivery.deliveries) == ("lost", 2)
        # Perhaps it took its cluster down: the next one is to be careful.
        assert (delivery.rescues, delivery.starts) == (1, 0)

    @needs_leases
    def test_many_are_rescued_a_part_at_a_time(
        self, broker: Broker, other: Broker, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr(Broker, "rescued_at_once", 2)
        for number in range(5):
            self.lose(broker, f"lost-{number}")
        other.enlist(new_id(), 0.1)
        first = wait_until(other.rescue)
        assert len(first) == 2
        texts = [*first, *other.rescue(), *other.rescue()]
        assert len(set(texts)) == 5
        assert other.rescue() == []

    @needs_leases
    def test_whoever_comes_back_does_not_rescue_before_a_whole_lease(
        self, broker: Broker, other: Broker
    ):
        self.lose(broker, "lost")
        other.enlist(new_id(), 30)
        assert other.rescue() == []
        assert other.rescue() == []

    @needs_leases
    def test_living_clusters_and_waiting_packages_need_no_rescue(
        self, broker: Broker, other: Broker
    ):
        broker.enlist(new_id(), 30)
        broker.enqueue("held")
        take_one(broker)
        broker.enqueue("waiting")
        other.enlist(new_id(), 0.05)
        begun = time.monotonic()
        wait_until(lambda: other.rescue() or time.monotonic() - begun > 0.2)
        assert len(broker.held()) == 1
        assert other.queue_size() == 1

    @needs_leases
    def test_nobody_rescues_what_it_holds_itself(self, broker: Broker):
        broker.enlist(new_id(), 0.05)
        broker.enqueue("mine")
        take_one(broker)
        begun = time.monotonic()
        wait_until(lambda: broker.rescue() or time.monotonic() - begun > 0.2)
        assert packages_of(broker.held()) == ["mine"]

    @needs_leases
    def test_what_a_cluster_held_that_is_dead_for_certain_is_freed_at_once(
        self, broker: Broker, other: Broker
    ):
        dead, living = new_id(), new_id()
        for name in ("lost", "found", "held", "waiting"):
            broker.enqueue(name, task_id=f"{name}-{new_id()[:8]}")
        broker.enlist(dead, 30)
        take(broker, 2)
        other.enlist(living, 30)
        held = take_one(other)
        texts = other.rescue_from(dead)
        assert {text.split()[1].partition("-")[0] for text in texts} == {
            "lost",
            "found",
        }
        assert other.rescue_from(dead) == []
        assert packages_of(other.held()) == ["held"]
        assert other.renew([receipt_of(held)])
        lost, *others = take(other, 10)
        assert packages_of([lost, *others]) == ["lost", "found", "waiting"]
        assert (lost.deliveries, lost.rescues, lost.starts) == (2, 1, 0)

    @needs_leases
    def test_what_other_queues_have_is_not_freed_with_a_dead_cluster(
        self, broker: Broker, open_broker: Callable[[str], Broker]
    ):
        elsewhere = f"contract-{new_id()[:8]}"
        other, rescuer = open_broker(elsewhere), open_broker(elsewhere)
        cluster = new_id()
        for each in (broker, other):
            each.enlist(cluster, 30)
            each.enqueue("held")
            take_one(each)
        assert len(rescuer.rescue_from(cluster)) == 1
        assert packages_of(broker.held()) == ["held"]

    @needs_leases
    def test_late_verbs_of_a_cluster_that_was_taken_for_dead_are_refused(
        self, broker: Broker, other: Broker
    ):
        dead = new_id()
        broker.enlist(dead, 30)
        broker.enqueue("lost")
        receipt = receipt_of(take_one(broker))
        other.enlist(new_id(), 30)
        assert len(other.rescue_from(dead)) == 1
        assert broker.renew([receipt]) == set()
        assert broker.acknowledge_many([receipt]) == set()
        assert take_one(other).package == "lost"

    @needs_leases
    def test_two_rescuers_share_the_work(self, broker: Broker, queue: str):
        for number in range(20):
            broker.enqueue(str(number), task_id=f"rescue-{number}-{new_id()[:8]}")
        broker.enlist(new_id(), 30)
        take(broker, 20)
        self.pass_time(broker, 31)

        def rescue(_number: int) -> list[str]:
            def until_nothing_is_held() -> list[str]:
                mine = self.make_broker(queue)
                mine.enlist(new_id(), 0.1)
                texts: list[str] = []

                def all_rescued() -> bool:
                    texts.extend(mine.rescue())
                    return not broker_held(mine)

                wait_until(all_rescued)
                return texts

            texts: list[str] = self.in_thread(until_nothing_is_held)
            return texts

        def broker_held(mine: Broker) -> bool:
            return mine.queue_size() < 20 or bool(self.count_held(mine))

        texts = [text for some in at_once(rescue, 2) for text in some]
        assert len(texts) == len(set(texts)) == 20

    def count_held(self, broker: Broker) -> int:
        """Packages that some cluster holds, lapsed or not."""
        raise NotImplementedError

    # -- waking up

    def test_enqueuing_makes_news(self, broker: Broker, other: Broker):
        broker.has_news()
        take(broker)
        other.enqueue("news")
        wait_until(broker.has_news, within=5)

    @needs_renewal
    def test_releasing_makes_news(self, broker: Broker, other: Broker):
        other.enlist(new_id(), 30)
        other.enqueue("news")
        delivery = take_one(other)
        wait_until(lambda: not broker.has_news() or broker.news_fd() is None)
        other.release(receipts_of([delivery]))
        wait_until(broker.has_news, within=5)

    @needs_news
    def test_descriptor_tells_of_a_package(self, broker: Broker, other: Broker):
        if not self.server_tells_news:
            pytest.skip("its server has no means to tell")
        broker.enlist(new_id(), 30)
        wait_until(lambda: not take(broker) and not broker.has_news())
        fd = broker.news_fd()
        assert fd is not None
        other.enqueue("news")
        assert select.select([fd], [], [], 10)[0]
        wait_until(broker.has_news)

    def test_descriptor_is_there_or_the_flag_is_down(self, broker: Broker):
        broker.enlist(new_id(), 30)
        take(broker)
        broker.has_news()
        if not broker.supports_news:
            assert broker.news_fd() is None
        elif self.server_tells_news:
            wait_until(lambda: broker.news_fd() is not None)

    def test_pulse_is_short_enough_not_to_notice(self, broker: Broker):
        broker.has_news()
        is_called = broker.news_fd() is not None
        assert 0 < broker.pulse() <= (10 if is_called else 1)

    # -- vital signs

    def test_vital_signs_are_kept_for_a_while(self, broker: Broker, other: Broker):
        broker.set_stat("django_q:tests:cluster:1", "alive", 60)
        assert other.get_stat("django_q:tests:cluster:1") == "alive"
        broker.set_stat("django_q:tests:cluster:1", "well", 60)
        broker.set_stat("django_q:tests:cluster:2", "too", 60)
        found = other.get_stats("django_q:tests:cluster:*") or []
        assert sorted(found) == ["too", "well"]

    def test_vital_signs_are_forgotten(self, broker: Broker):
        broker.set_stat("django_q:tests:cluster:3", "gone", 0.05)
        wait_until(lambda: broker.get_stat("django_q:tests:cluster:3") is None)
        assert not broker.get_stats("django_q:tests:cluster:3*")

    def test_unknown_vital_sign_is_none(self, broker: Broker):
        assert broker.get_stat("django_q:tests:cluster:unknown") is None

    # -- the flags

    def test_flags_hide_nothing(self, broker: Broker):
        """A broker that can do more than it says would never be asked for it."""
        broker.enqueue("flags", task_id=new_id())
        [delivery] = take(broker, 1)
        assert (delivery.receipt is not None) is broker.supports_receipts
        if not broker.supports_leases:
            assert broker.held() == []
            assert broker.next_due() is None
