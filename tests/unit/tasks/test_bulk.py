"""async_bulk: one function, many calls, sent in loads."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import transaction

from django_q.brokers import Broker, Consignment, Delivery, get_broker, loads, streams
from django_q.brokers.base import Stream
from django_q.brokers.memory import Memory
from django_q.envelope import Envelope
from django_q.exceptions import (
    NotAtomic,
    PackageTooLarge,
    TaskNotAllowed,
    TaskNotSerializable,
)
from django_q.models import Failure, OrmQ, Task
from django_q.signals import pre_enqueue
from django_q.signing import SignedPackage
from django_q.tasks import aasync_bulk, async_bulk, async_task, fetch, result
from tests import functions
from tests.functions import words

pytestmark = pytest.mark.usefixtures("memory")

PAIRS = [(1, 2), [3, 4], (5, 6)]


def waiting(queue: str | None = None) -> list[Envelope]:
    """What a broker would hand out."""
    taken: list[Delivery] = get_broker(queue).dequeue(100) or []
    return [Envelope.open(delivery.package) for delivery in taken]


@pytest.fixture
def small_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three tasks travel at once."""
    monkeypatch.setattr(loads, "MOST_AT_ONCE", 3)


@pytest.fixture
def announced() -> Iterator[Callable[[Callable[[dict[str, Any]], None]], None]]:
    """Call this with the dict of each task before it is queued."""
    receivers = []

    def connect(change: Callable[[dict[str, Any]], None]) -> None:
        def receiver(task: dict[str, Any], **_: Any) -> None:
            change(task)

        receivers.append(receiver)
        pre_enqueue.connect(receiver)

    yield connect
    for receiver in receivers:
        pre_enqueue.disconnect(receiver)


class Counting(Memory):
    """Notes how many packages came at once."""

    loads: list[int] = []  # noqa: RUF012 - the test reads it

    def enqueue_many(self, consignments: Sequence[Consignment]) -> None:
        self.loads.append(len(consignments))
        super().enqueue_many(consignments)


class PlainBroker(Broker):
    """As somebody wrote it for an earlier release."""

    sent: list[str] = []  # noqa: RUF012 - the test reads it

    def enqueue(self, package: str) -> int:  # type: ignore[override]
        self.sent.append(package)
        return len(self.sent)


# ------------------------------------------------------------------------- what is sent


def test_each_member_is_a_task_with_an_id_of_its_own() -> None:
    ids = async_bulk("tests.functions.add", PAIRS)
    envelopes = waiting()
    assert [envelope.id for envelope in envelopes] == ids
    assert [uuid.UUID(task_id).hex for task_id in ids] == ids
    assert len(set(ids)) == 3
    assert len({envelope.name for envelope in envelopes}) == 3
    assert [envelope.args for envelope in envelopes] == [(1, 2), (3, 4), (5, 6)]
    assert {envelope.func for envelope in envelopes} == {"tests.functions.add"}


def test_they_have_options_and_keywords_in_common() -> None:
    options = {"hook": "a.b", "group": "g", "save": False, "timeout": 0.5}
    own = {"max_attempts": 3, "ack_failure": True, "cached": 30, "task_name": "mine"}
    async_bulk(functions.echo, PAIRS, colour="red", q_options=own | options)
    for envelope in waiting():
        task = envelope.as_dict()
        assert {key: task[key] for key in options | own if key != "task_name"} == {
            key: value for key, value in (options | own).items() if key != "task_name"
        }
        assert (envelope.name, envelope.kwargs) == ("mine", {"colour": "red"})


@pytest.mark.parametrize("is_heard", [False, True])
@pytest.mark.parametrize("options", [{}, {"hook": "a.b", "chain": [("a.b", (1,))]}])
def test_their_packages_hold_what_async_task_puts_there(
    announced: Any, options: dict[str, Any], is_heard: bool
) -> None:
    if is_heard:
        announced(lambda _task: None)
    async_task("a.b", 1, 2, colour="red", **options)
    async_bulk("a.b", [[1, 2]], colour="red", **options)
    one, other = (SignedPackage.loads(package) for package in get_broker().peek())
    assert list(one) == list(other)
    own = dict.fromkeys(("id", "name", "started"))
    assert one | own == other | own


def test_they_may_go_to_another_queue_or_broker(memory: str) -> None:
    async_bulk("a.b", PAIRS, cluster=f"{memory}-mail")
    async_bulk("a.b", PAIRS, broker=get_broker(f"{memory}-given"))
    assert waiting() == []
    assert len(waiting(f"{memory}-mail")) == len(waiting(f"{memory}-given")) == 3


def test_of_nothing_nothing_is_queued_nor_asked_for() -> None:
    assert async_bulk("a.b", []) == []
    assert async_bulk("a.b", [], q_options={"atomic": True}) == []
    assert waiting() == []


def test_an_iterable_may_queue_tasks_itself() -> None:
    def members() -> Iterator[tuple[int]]:
        for number in range(2):
            async_bulk("a.b", [(number, "within")])
            yield (number,)

    async_bulk("a.b", members())
    found = [envelope.args for envelope in waiting()]
    assert found == [(0, "within"), (1, "within"), (0,), (1,)]


class Once:
    """Can be pickled, but not at first."""

    def __init__(self) -> None:
        self.asked = 0

    def __getstate__(self) -> dict[str, int]:
        self.asked += 1
        if self.asked == 1:
            raise ConnectionError("not now")
        return vars(self)


def test_what_could_not_be_pickled_is_not_sent_after_all() -> None:
    with pytest.raises(TaskNotSerializable) as caught:
        async_bulk("a.b", [(1,), (Once(),)])
    assert isinstance(caught.value.__cause__, ConnectionError)
    assert waiting() == []


@pytest.mark.usefixtures("small_loads")
def test_an_iterable_is_read_as_its_tasks_are_sent(q_settings: Any) -> None:
    Counting.loads.clear()
    q_settings(broker_class=f"{__name__}.Counting")
    sent_before = []

    def members() -> Iterator[tuple[int]]:
        for number in range(8):
            sent_before.append(sum(Counting.loads))
            yield (number,)

    ids = async_bulk("a.b", members())
    assert Counting.loads == [3, 3, 2]
    assert sent_before == [0, 0, 0, 0, 3, 3, 3, 6]
    assert [envelope.id for envelope in waiting()] == ids


def test_a_load_has_no_more_bytes_than_can_travel(
    monkeypatch: pytest.MonkeyPatch, q_settings: Any
) -> None:
    Counting.loads.clear()
    q_settings(broker_class=f"{__name__}.Counting")
    monkeypatch.setattr(loads, "LARGEST_LOAD", 5000)
    async_bulk("a.b", [("x" * 1500,)] * 4)
    assert Counting.loads == [2, 2]


def test_a_broker_of_somebody_else_gets_one_package_after_the_other(
    q_settings: Any,
) -> None:
    PlainBroker.sent.clear()
    q_settings(broker_class=f"{__name__}.PlainBroker")
    ids = async_bulk("a.b", PAIRS)
    assert [Envelope.open(package).id for package in PlainBroker.sent] == ids


# ------------------------------------------------- what is sent while the rest is made


class Streaming(Counting):
    """Can send without waiting, and notes how many came so."""

    streamed: list[int] = []  # noqa: RUF012 - the test reads it

    def stream_opener(self) -> Callable[[], Stream]:
        return self.open_stream

    @contextmanager
    def open_stream(self) -> Iterator[Callable[[Sequence[Consignment]], None]]:
        def send(new: Sequence[Consignment]) -> None:
            self.streamed.append(len(new))
            Memory.enqueue_many(self, new)

        yield send


@pytest.fixture
def streaming(q_settings: Any, monkeypatch: pytest.MonkeyPatch) -> type[Streaming]:
    monkeypatch.setattr(streams, "PORTION", 2)
    Streaming.streamed.clear()
    Counting.loads.clear()
    q_settings(broker_class=f"{__name__}.Streaming")
    return Streaming


@pytest.mark.parametrize(
    "members",
    [
        PAIRS,
        ((1, 2.5, None, True, "a", b"b"),) * 3,
        [([1, "a"], {"a": 1}), ((), {}), ()],
    ],
)
def test_plain_tasks_are_sent_on_while_others_are_made(
    streaming: type[Streaming], members: Any
) -> None:
    ids = async_bulk(functions.echo, members, colour="red", hook=functions.add)
    assert (streaming.streamed, streaming.loads) == ([2, 1], [])
    envelopes = waiting()
    assert [envelope.id for envelope in envelopes] == ids
    assert [envelope.args for envelope in envelopes] == list(map(tuple, members))


class Word(str):
    """Could have its own way to be pickled."""

    __slots__ = ()


@pytest.mark.parametrize(
    "members",
    [
        (pair for pair in PAIRS),
        [(1,), (Word("a"),), ()],
        [(1,), ([[1]],), ()],
        [(1,), ({1: (2,)},), ()],
    ],
)
def test_where_somebodys_code_may_run_it_finds_nothing_on_its_way(
    streaming: type[Streaming], members: Any
) -> None:
    assert len(async_bulk("a.b", members)) == 3
    assert (streaming.streamed, streaming.loads) == ([], [3])


def test_a_few_are_sent_as_ever(streaming: type[Streaming]) -> None:
    async_bulk("a.b", PAIRS[:2])
    assert (streaming.streamed, streaming.loads) == ([], [2])


@pytest.mark.django_db(transaction=True)
def test_outside_of_the_brokers_database_a_transaction_does_not_matter_if_so_set(
    streaming: type[Streaming], q_settings: Any
) -> None:
    q_settings(broker_class=f"{__name__}.Streaming", send_on_commit=False)
    with transaction.atomic():
        async_bulk("a.b", PAIRS)
    assert streaming.streamed == [2, 1]


def test_so_it_is_with_what_the_tasks_have_in_common(
    streaming: type[Streaming],
) -> None:
    async_bulk("a.b", PAIRS, colour=Word("red"))
    async_bulk("a.b", PAIRS, group=Word("mine"))
    assert (streaming.streamed, streaming.loads) == ([], [3, 3])


def test_a_receiver_of_each_task_finds_nothing_on_its_way(
    streaming: type[Streaming], announced: Any
) -> None:
    announced(lambda _task: None)
    async_bulk("a.b", PAIRS)
    assert (streaming.streamed, streaming.loads) == ([], [3])


@pytest.mark.django_db(transaction=True)
def test_nothing_is_sent_on_before_the_transaction_commits(
    streaming: type[Streaming],
) -> None:
    with transaction.atomic():
        async_bulk("a.b", PAIRS)
        assert waiting() == []
    assert (streaming.streamed, streaming.loads) == ([], [3])


@pytest.mark.django_db(transaction=True)
def test_what_goes_through_the_outbox_is_not_sent_on(
    streaming: type[Streaming],
) -> None:
    async_bulk("a.b", PAIRS, outbox=True)
    assert (streaming.streamed, streaming.loads) == ([], [3])


def test_a_package_that_is_too_large_leaves_those_that_were_sent(
    streaming: type[Streaming], q_settings: Any
) -> None:
    q_settings(broker_class=f"{__name__}.Streaming", max_package_size=1000)
    members = [(1,), (2,), (3,), (4,), (5,), ("x" * 2000,)]
    with pytest.raises(PackageTooLarge) as caught:
        async_bulk("a.b", members)
    assert caught.value.__notes__ == ["Tasks that async_bulk had queued before: 4"]
    assert [envelope.args for envelope in waiting()] == [(1,), (2,), (3,), (4,)]


# -------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("member", ["tea", 7, {"a": 1}, None])
def test_a_member_must_be_a_tuple_or_list(member: Any) -> None:
    text = r"Member 1 must be a tuple or list of arguments, not .*write \(argument,\)"
    with pytest.raises(TypeError, match=text):
        async_bulk("a.b", [(1,), member])
    assert waiting() == []


@pytest.mark.usefixtures("small_loads")
def test_an_error_leaves_the_loads_before_it_and_says_how_many() -> None:
    members = [(1,), (2,), (3,), (4,), (threading.Lock(),)]
    with pytest.raises(TaskNotSerializable, match=r"^Argument 1 of ") as caught:
        async_bulk("a.b", members)
    assert caught.value.__notes__ == ["Tasks that async_bulk had queued before: 3"]
    assert [envelope.args for envelope in waiting()] == [(1,), (2,), (3,)]


@pytest.mark.parametrize("option", ["task_id", "slot", "iter_index"])
def test_what_names_one_task_is_refused(option: str) -> None:
    with pytest.raises(TypeError, match=f"'{option}' is for one task"):
        async_bulk("a.b", PAIRS, q_options={option: "0" * 32})


def test_options_are_judged_as_for_one_task(q_settings: Any) -> None:
    with pytest.raises(TypeError, match="'timeout' must be a number of seconds"):
        async_bulk("a.b", PAIRS, timeout="5")
    with pytest.raises(TypeError, match="have an outbox, not 'broker'"):
        async_bulk("a.b", PAIRS, outbox=True, broker=get_broker())
    with pytest.raises(NotAtomic) as caught:
        async_bulk("a.b", PAIRS, q_options={"atomic": True})
    assert caught.value.__notes__ == ["Tasks that async_bulk had queued before: 0"]
    with pytest.raises(ValueError, match="A chain has at most"):
        async_bulk("a.b", PAIRS, chain=["a.b"] * 10_000)
    q_settings(max_package_size=1000)
    with pytest.raises(PackageTooLarge, match=r"^shop.tasks.send: The package needs "):
        async_bulk("shop.tasks.send", [("x" * 2000,)])
    q_settings(allowed_functions=["shop.*"])
    with pytest.raises(TaskNotAllowed):
        async_bulk("a.b", PAIRS)
    assert waiting() == []


# ---------------------------------------------------------------- signals, and sync mode


def test_pre_enqueue_is_sent_for_each(announced: Any, memory: str) -> None:
    def amend(task: dict[str, Any]) -> None:
        task["kwargs"]["first"] = task["args"][0]
        if task["args"][0] == 3:
            task["cluster"] = f"{memory}-mail"

    announced(amend)
    ids = async_bulk("a.b", PAIRS, shared=True)
    mine, mails = waiting(), waiting(f"{memory}-mail")
    assert [each.id for each in (mine[0], *mails, mine[1])] == ids
    found = [each.kwargs for each in (*mine, *mails)]
    assert found == [{"shared": True, "first": number} for number in (1, 5, 3)]


def test_a_receiver_that_raises_forbids_the_load(announced: Any) -> None:
    def forbid(task: dict[str, Any]) -> None:
        if task["args"][0] == 3:
            raise PermissionError("not today")

    announced(forbid)
    with pytest.raises(PermissionError, match="not today"):
        async_bulk("a.b", PAIRS)
    assert waiting() == []


def test_what_a_receiver_puts_there_is_checked(announced: Any, q_settings: Any) -> None:
    q_settings(allowed_functions=["shop.*"])
    announced(lambda task: task.update(func="os.system"))
    with pytest.raises(TaskNotAllowed):
        async_bulk("shop.tasks.send", PAIRS)
    assert waiting() == []


@pytest.mark.django_db
def test_in_sync_mode_each_runs_in_turn(q_settings: Any) -> None:
    q_settings(sync=True)
    ids = async_bulk("tests.functions.add", PAIRS, group="sums")
    assert [result(task_id) for task_id in ids] == [3, 7, 11]
    assert {task.group for task in Task.objects.all()} == {"sums"}
    assert waiting() == []


@pytest.mark.django_db
def test_in_sync_mode_the_first_failure_is_raised(task_log: str) -> None:
    members = [(task_log, "one"), ("/no/such/folder/log", "two"), (task_log, "three")]
    with pytest.raises(FileNotFoundError) as caught:
        async_bulk("tests.functions.log", members, sync=True)
    assert caught.value.__notes__[-1] == "Tasks that async_bulk had queued before: 1"
    assert words(task_log) == ["one"]
    assert Failure.objects.count() == 1


# ---------------------------------------------------------- transactions, and coroutines


@pytest.mark.django_db(transaction=True)
def test_they_are_sent_when_the_transaction_commits() -> None:
    with transaction.atomic():
        async_bulk("a.b", PAIRS)
        assert waiting() == []
    assert len(waiting()) == 3
    with transaction.atomic():
        async_bulk("a.b", PAIRS)
        transaction.set_rollback(True)
    assert waiting() == []


@pytest.mark.django_db(transaction=True)
def test_the_database_as_broker_joins_the_transaction(q_settings: Any) -> None:
    q_settings(broker_class=None, orm="default")
    with transaction.atomic():
        ids = async_bulk("a.b", PAIRS)
        in_order = OrmQ.objects.order_by("id").values_list("task_key", flat=True)
        assert list(in_order) == ids
        transaction.set_rollback(True)
    assert OrmQ.objects.count() == 0
    async_bulk("a.b", PAIRS)
    assert len(waiting()) == 3


def test_from_a_coroutine() -> None:
    async def view() -> list[str]:
        return [*await aasync_bulk("a.b", PAIRS), *async_bulk("a.b", PAIRS)]

    ids = asyncio.run(view())
    assert [envelope.id for envelope in waiting()] == ids


@pytest.mark.django_db
def test_what_is_queued_can_be_run(drain: Callable[..., int]) -> None:
    ids = async_bulk("tests.functions.add", PAIRS)
    assert drain() == 3
    tasks = [fetch(task_id) for task_id in ids]
    assert [task and task.result for task in tasks] == [3, 7, 11]
