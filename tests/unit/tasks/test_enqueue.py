"""async_task: from a call to a package on a broker."""

from __future__ import annotations

import asyncio
import io
import logging
import threading
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, transaction

from django_q import tasks
from django_q.brokers import Delivery, get_broker
from django_q.brokers.base import Broker
from django_q.conf import get_options
from django_q.envelope import Envelope
from django_q.exceptions import (
    PackageTooLarge,
    TaskNotImportable,
    TaskNotSerializable,
    UnreadablePackage,
)
from django_q.models import OrmQ
from django_q.signals import pre_enqueue
from django_q.tasks import aasync_task, async_bulk, async_task
from tests import functions
from tests.aliases import added_sqlite

pytestmark = pytest.mark.usefixtures("memory")


def waiting(queue: str | None = None) -> list[Envelope]:
    """What a broker would hand out."""
    broker = get_broker(queue)
    taken: list[Delivery] = broker.dequeue(100) or []
    return [Envelope.open(delivery.package) for delivery in taken]


def test_a_task_waits_on_the_queue() -> None:
    task_id = async_task("tests.functions.add", 1, 2, x=3)
    (envelope,) = waiting()
    assert envelope.id == task_id
    assert uuid.UUID(task_id).hex == task_id
    assert envelope.func == "tests.functions.add"
    assert (envelope.args, envelope.kwargs) == ((1, 2), {"x": 3})


def test_a_task_is_signed_with_the_key_of_its_moment(settings: Any) -> None:
    async_task("a.b", "before")
    settings.SECRET_KEY = "fresh"
    async_task("a.b", "after")
    before, after = [delivery.package for delivery in get_broker().dequeue(2) or []]
    assert Envelope.open(after).args == ("after",)
    with pytest.raises(UnreadablePackage):
        Envelope.open(before)


def test_a_task_is_sealed_by_the_settings_of_its_moment(q_settings: Any) -> None:
    async_task("a.b")
    q_settings(max_package_size=50)
    with pytest.raises(PackageTooLarge):
        async_task("a.b")


class Queues:
    """Queues another task while it is pickled itself."""

    def __reduce__(self) -> Any:
        async_task("a.b", "first")
        return str, ("second",)


def test_an_argument_may_queue_a_task_while_it_is_pickled() -> None:
    async_task("a.b", Queues())
    assert [envelope.args for envelope in waiting()] == [("first",), ("second",)]


def test_a_callable_travels_by_reference() -> None:
    async_task(functions.add, 1)
    async_task(User.objects.count)
    async_task(partial(functions.add, 1))
    (first, *_) = waiting()
    assert first.func is functions.add


def test_every_option_travels() -> None:
    options = {
        "hook": "a.b",
        "group": "g",
        "save": False,
        "cached": 30,
        "ack_failure": True,
        "timeout": 0.5,
        "max_attempts": 3,
        "retry_delay": 1,
        "retry_delay_max": 2,
        "max_deliveries": 4,
        "stop_on_failure": False,
        "chain": ["a.b"],
    }
    async_task("a.b", task_name="mine", **options)
    async_task("a.b", q_options=options | {"task_name": "mine"})
    for envelope in waiting():
        assert envelope.name == "mine"
        assert envelope.kwargs == {}
        assert {key: getattr(envelope, key) for key in options} == options


def test_options_in_q_options_beat_keywords() -> None:
    async_task("a.b", group="mine", q_options={"group": "g"})
    (envelope,) = waiting()
    assert (envelope.group, envelope.kwargs) == ("g", {"group": "mine"})


def test_a_task_may_go_to_another_queue(memory: str) -> None:
    async_task("a.b", cluster=f"{memory}-mail")
    assert waiting() == []
    (envelope,) = waiting(f"{memory}-mail")
    assert envelope.cluster == f"{memory}-mail"


def test_a_broker_may_be_given(memory: str) -> None:
    other = get_broker(f"{memory}-other")
    async_task("a.b", broker=other)
    (envelope,) = waiting(f"{memory}-other")
    assert "broker" not in envelope.as_dict()
    assert envelope.cluster is None


def test_queued_twice_under_one_id_is_queued_once() -> None:
    chosen = uuid.uuid4()
    for _ in range(2):
        assert async_task("a.b", q_options={"task_id": chosen}) == chosen.hex
    assert [envelope.id for envelope in waiting()] == [chosen.hex]


def test_settings_that_travel(q_settings: Any) -> None:
    q_settings(cached=30, ack_failures=True)
    async_task("a.b")
    async_task("a.b", cached=False, ack_failure=False)
    first, second = waiting()
    assert (first.cached, first.ack_failure) == (30, True)
    assert (second.cached, second.ack_failure) == (False, False)


def test_the_log_tells_queue_and_id(
    caplog: pytest.LogCaptureFixture, memory: str
) -> None:
    caplog.set_level(logging.DEBUG, "django-q")
    task_id = async_task("a.b", task_name="mine")
    assert f"Enqueued [{memory}] " in caplog.text
    assert f"Pushed (mine, {task_id})" in caplog.text


class TestPreEnqueue:
    def test_receivers_change_the_task(self) -> None:
        def amend(task: dict[str, Any], **_: Any) -> None:
            task.update(tenant=7, args=(9,))

        pre_enqueue.connect(amend)
        try:
            async_task("a.b", 1)
        finally:
            pre_enqueue.disconnect(amend)
        (envelope,) = waiting()
        assert (envelope.args, envelope.extra) == ((9,), {"tenant": 7})

    def test_a_receiver_that_raises_forbids_it(self) -> None:
        def forbid(**_: Any) -> None:
            raise PermissionError("not today")

        pre_enqueue.connect(forbid)
        try:
            with pytest.raises(PermissionError, match="not today"):
                async_task("a.b")
        finally:
            pre_enqueue.disconnect(forbid)
        assert waiting() == []


class Locked:
    def __init__(self) -> None:
        self.inner = {"lock": threading.Lock()}


def rejected(func: Any = "shop.tasks.export", *args: Any, **kwargs: Any) -> str:
    with pytest.raises(TaskNotSerializable) as caught:
        async_task(func, *args, **kwargs)
    assert isinstance(caught.value, TypeError)
    assert caught.value.__cause__ is not None
    assert waiting() == []
    return str(caught.value)


class Moody:
    """Can be pickled, but not the first time."""

    pickled = 0

    def __reduce__(self) -> Any:
        Moody.pickled += 1
        if Moody.pickled == 1:
            raise ValueError("moody")
        return Moody, ()


class TestWhatCanNotBeSent:
    def test_the_argument_is_named_down_to_the_culprit(self) -> None:
        assert rejected("shop.tasks.export", 1, Locked()) == (
            "Argument 2 of shop.tasks.export can't be sent: args[1].inner['lock'] is a"
            " _thread.lock, which can't be pickled. Pass something simple instead, for"
            " example an id."
        )

    @pytest.mark.parametrize(
        ("value", "place"),
        [
            (threading.Lock(), "args[0] is a _thread.lock"),
            ([1, (2, threading.Lock())], "args[0][1][1] is a _thread.lock"),
            ({"a": io.StringIO}, None),
            ({threading.Lock()}, "a member of args[0] is a _thread.lock"),
            (lambda: None, "args[0] is the function "),
            (iter(lambda: 1, 2), "args[0] is a callable_iterator"),
        ],
    )
    def test_wherever_it_is(self, value: Any, place: str | None) -> None:
        if place is None:
            assert async_task("a.b", value)
        else:
            assert place in rejected("a.b", value)

    def test_keywords_and_options(self) -> None:
        assert rejected(user=Locked()).startswith(
            "Argument 'user' of shop.tasks.export can't be sent:"
            " kwargs['user'].inner['lock'] is a _thread.lock"
        )
        text = rejected(hook=lambda task: task)
        assert text.startswith("Option 'hook' of shop.tasks.export can't be sent: hook")

    def test_an_argument_that_raises_what_it_likes(self) -> None:
        class Rude:
            def __reduce__(self) -> Any:
                raise ZeroDivisionError("rude")

        assert "Rude, which can't be pickled" in rejected("a.b", Rude())

    def test_an_argument_that_fails_only_together_with_the_others(self) -> None:
        Moody.pickled = 0
        text = rejected("shop.tasks.export", Moody())
        assert text.startswith("shop.tasks.export can't be sent: moody.")

    def test_an_argument_that_contains_itself_without_end(self) -> None:
        deep: list[Any] = []
        for _ in range(100_000):
            deep = [deep]
        assert "is a list, which can't be pickled" in rejected("a.b", deep)


class TestWhatCanNotBeImported:
    @pytest.mark.parametrize("where", ["lambda", "nested"])
    def test_the_function_is_named(self, where: str) -> None:
        def nested() -> None: ...

        func = nested if where == "nested" else lambda: None
        with pytest.raises(TaskNotImportable) as caught:
            async_task(func)
        assert isinstance(caught.value, ValueError)
        text = str(caught.value)
        assert text.startswith(f"{__name__}.TestWhatCanNotBeImported.")
        assert text.endswith(
            "can't be imported by a worker. Move it to the top level of a module."
        )
        assert waiting() == []

    def test_a_function_of_the_script_is_queued_with_a_warning(
        self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import __main__  # noqa: PLC0415

        def of_the_script() -> None: ...

        of_the_script.__module__ = "__main__"
        of_the_script.__qualname__ = "of_the_script"
        monkeypatch.setattr(__main__, "of_the_script", of_the_script, raising=False)
        async_task(of_the_script)
        text = "__main__.of_the_script can't be imported by a worker."
        assert text in caplog.text
        assert len(waiting()) == 1


def test_too_large_a_package_names_the_function(q_settings: Any) -> None:
    q_settings(max_package_size=1000)
    with pytest.raises(PackageTooLarge, match=r"^shop.tasks.send: The package needs "):
        async_task("shop.tasks.send", "x" * 2000)


def test_without_a_key_nothing_is_queued(settings: Any) -> None:
    settings.SECRET_KEY = ""
    with pytest.raises(ImproperlyConfigured, match="SECRET_KEY is empty"):
        async_task("a.b")


@pytest.mark.parametrize("options", [{"timeout": "5"}, {"broker": "redis"}])
def test_an_impossible_option_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=r"must be a (number of seconds|broker), not '"):
        async_task("a.b", **options)


class PlainBroker(Broker):
    """As somebody wrote it for an earlier release."""

    sent: list[str] = []  # noqa: RUF012 - the test reads it

    def enqueue(self, package: str) -> int:  # type: ignore[override]
        self.sent.append(package)
        return len(self.sent)


def test_a_broker_of_somebody_else_gets_the_package_alone(q_settings: Any) -> None:
    q_settings(broker_class=f"{__name__}.PlainBroker")
    task_id = async_task("a.b")
    assert Envelope.open(PlainBroker.sent.pop()).id == task_id


class TestKeptBroker:
    def test_it_is_made_once(self, q_settings: Any) -> None:
        made: list[str] = []

        class Counting(PlainBroker):
            def __init__(self, list_key: str | None = None) -> None:
                super().__init__(list_key)
                made.append(self.list_key)

        globals()["Counting"] = Counting
        q_settings(broker_class=f"{__name__}.Counting")
        for _ in range(3):
            async_task("a.b")
            async_task("a.b", cluster="other")
        assert made == [get_options().queue, "other"]
        q_settings(broker_class=f"{__name__}.Counting", cluster_name="third")
        async_task("a.b")
        assert made[2:] == ["third"]

    def test_it_is_closed_when_the_settings_change(self, q_settings: Any) -> None:
        closed: list[str] = []

        class Closing(PlainBroker):
            def close(self) -> None:
                closed.append(self.list_key)

        globals()["Closing"] = Closing
        q_settings(broker_class=f"{__name__}.Closing", cluster_name="first")
        async_task("a.b")
        assert closed == []
        q_settings(broker_class=f"{__name__}.Closing", cluster_name="second")
        async_task("a.b")
        assert closed == ["first"]

    def test_each_thread_has_its_own(self) -> None:
        seen: list[Broker] = []

        def look() -> None:
            seen.append(tasks.enqueue.keep_broker())

        look()
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        look()
        assert seen[0] is seen[2] is not seen[1]


class TestTransactions:
    @pytest.mark.django_db(transaction=True)
    def test_a_task_is_sent_when_the_transaction_commits(self) -> None:
        with transaction.atomic():
            with transaction.atomic():
                async_task("a.b")
            assert waiting() == []
        assert len(waiting()) == 1

    @pytest.mark.django_db(transaction=True)
    def test_a_task_is_not_sent_when_the_transaction_is_rolled_back(self) -> None:
        with transaction.atomic():
            async_task("a.b")
            transaction.set_rollback(True)
        assert waiting() == []

    @pytest.mark.django_db(transaction=True)
    def test_a_task_is_sent_when_those_of_two_databases_have_committed_and_not_else(
        self, tmp_path: Path
    ) -> None:
        with added_sqlite(tmp_path / "other.sqlite3") as other:
            connections[other].ensure_connection()
            connections.settings[other] = connections[other].settings_dict
            for outer, inner in (("default", other), (other, "default")):
                with transaction.atomic(using=outer):
                    with transaction.atomic(using=inner):
                        async_task("a.undone")
                        transaction.set_rollback(True, using=inner)
                    with transaction.atomic(using=inner):
                        async_task("a.b")
                    assert waiting() == []
                assert [envelope.func for envelope in waiting()] == ["a.b"]

    @pytest.mark.django_db(transaction=True)
    def test_what_can_not_be_sent_is_told_at_the_call(self) -> None:
        with transaction.atomic(), pytest.raises(TaskNotSerializable):
            async_task("a.b", threading.Lock())

    @pytest.mark.django_db
    def test_the_transaction_of_a_test_case_does_not_count(self) -> None:
        async_task("a.b")
        assert len(waiting()) == 1

    @pytest.mark.django_db
    def test_inside_a_test_case_djangos_helper_shows_what_a_commit_would_send(
        self, django_capture_on_commit_callbacks: Any
    ) -> None:
        with (
            django_capture_on_commit_callbacks(execute=True),
            transaction.atomic(),
        ):
            async_task("a.b")
            assert waiting() == []
        assert len(waiting()) == 1

    @pytest.mark.django_db(transaction=True)
    def test_the_database_as_broker_joins_the_transaction(
        self, q_settings: Any
    ) -> None:
        q_settings(broker_class=None, orm="default")
        with transaction.atomic():
            async_task("a.b")
            assert OrmQ.objects.count() == 1
            transaction.set_rollback(True)
        assert OrmQ.objects.count() == 0


class TestCoroutines:
    def test_aasync_task(self) -> None:
        task_id = asyncio.run(aasync_task("a.b", 1, group="g"))
        (envelope,) = waiting()
        assert (envelope.id, envelope.group) == (task_id, "g")

    def test_async_task_works_and_in_debug_says_what_to_use(
        self, settings: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def view() -> str:
            return async_task("a.b")

        task_id = asyncio.run(view())
        assert caplog.text.count("aasync_task") == 0
        settings.DEBUG = True
        asyncio.run(view())
        assert "was called from a coroutine and would block it" in caplog.text
        assert task_id in [envelope.id for envelope in waiting()]

    @pytest.mark.django_db(transaction=True)
    def test_async_task_in_a_coroutine_reaches_the_database(
        self, q_settings: Any
    ) -> None:
        q_settings(broker_class=None, orm="default")

        async def view() -> str:
            return async_task("a.b")

        task_id = asyncio.run(view())
        (row,) = OrmQ.objects.all()
        assert Envelope.open(row.payload).id == task_id


def crop(path: str) -> None: ...


def resize(path: str, size: int) -> None: ...


class TestAdvice:
    @pytest.fixture(autouse=True)
    def debug(self, settings: Any) -> None:
        settings.DEBUG = True

    @pytest.mark.parametrize(
        ("call", "start", "end"),
        [
            (
                lambda: async_task("tests.functions.ad"),
                "Function tests.functions.ad is not defined: ",
                "tests.functions has no 'ad'. Did you mean 'add'?",
            ),
            (
                lambda: async_task(f"{__name__}.resize", "/a.jpg", 256, True),
                "resize(path: 'str', size: 'int') -> 'None' was given 3 arguments,",
                "which won't do: too many positional arguments.",
            ),
            (
                lambda: async_task("tests.functions.nothing", User(pk=5)),
                "tests.functions.nothing gets a whole User (pk 5). The worker will see",
                "it as it is now, not as it is then. Pass its pk.",
            ),
            (
                lambda: async_task("math.sqrt", group=1, q_options={"group": "g"}),
                "math.sqrt: 'group' is in q_options and among the keywords.",
                "and 'group' goes to the function.",
            ),
            (
                lambda: async_task("math.floor", 1, q_options={"colour": 1}),
                "math.floor: q_options has no option 'colour'.",
                "It is ignored.",
            ),
        ],
    )
    def test_what_will_go_wrong_is_told_and_queued_all_the_same(
        self,
        call: Callable[[], str],
        start: str,
        end: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        call()
        call()
        assert caplog.text.count(start) == 1
        assert end in caplog.text
        assert len(waiting()) == 2

    def test_it_is_told_of_the_members_of_a_bulk(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        async_bulk(f"{__name__}.crop", [("/a.jpg",), ("/a.jpg", 256)])
        assert "was given 2 arguments" in caplog.text
        assert len(waiting()) == 2

    def test_nothing_is_told_of_a_good_call(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        async_task("tests.functions.add", 1, group="g")
        async_task(resize, "a", size=2)
        async_task("math.sqrt", 4)
        async_task("builtins.dict", 4)
        assert "WARNING" not in caplog.text

    def test_nothing_is_told_in_production(
        self, settings: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        settings.DEBUG = False
        async_task("tests.functions.never_mentioned")
        assert "WARNING" not in caplog.text
