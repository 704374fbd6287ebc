"""The task as a value: from a call, to a package and back, along a chain."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from django_q import clock, humanhash
from django_q.envelope import Envelope, hook_text, is_task, new_id
from django_q.exceptions import UnreadablePackage
from django_q.options import Options
from django_q.signals import pre_enqueue
from django_q.signing import SignedPackage
from tests.functions import add, log_result


def envelope(*args: Any, **options: Any) -> Envelope:
    return Envelope.from_call("tests.functions.add", args, {}, options)


def test_a_call_gets_an_id_a_name_and_a_moment() -> None:
    made = envelope(1, 2)
    assert uuid.UUID(made.id).hex == made.id
    assert made.name == humanhash.humanize(made.id)
    assert clock.now() - made.started < timedelta(seconds=5)
    assert made.args == (1, 2)


def test_ids_are_random_uuids() -> None:
    ids = [new_id() for _ in range(200)]

    made = [uuid.UUID(task_id) for task_id in ids]
    assert {(each.version, each.variant) for each in made} == {(4, uuid.RFC_4122)}
    assert [each.hex for each in made] == ids
    assert len({task_id[6:] for task_id in ids}) == 200


def test_ids_of_one_moment_are_neighbours_but_their_names_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    moment = 1_800_000_000 * 10**9
    monkeypatch.setattr("django_q.envelope.time_ns", lambda: moment)
    early = [new_id() for _ in range(200)]
    monkeypatch.setattr("django_q.envelope.time_ns", lambda: moment + 10**8)
    late = [new_id() for _ in range(200)]

    assert max(early) < min(late)
    assert len({humanhash.humanize(each).split("-")[0] for each in early}) > 50


def test_the_caller_may_choose_id_and_name() -> None:
    chosen = uuid.uuid4()
    made = envelope(task_id=chosen, task_name="monthly")
    assert (made.id, made.name) == (chosen.hex, "monthly")
    assert envelope(task_id=str(chosen)).id == chosen.hex


def test_an_id_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="badly formed"):
        envelope(task_id="monthly")


def test_a_package_has_the_fixed_keys_and_the_given_options() -> None:
    task = SignedPackage.loads(envelope(1, group="g", save=False).seal())
    assert task.keys() == {
        *("id", "name", "func", "args", "kwargs", "started", "group", "save")
    }
    assert task["args"] == (1,)


def test_opening_gives_what_was_sealed() -> None:
    made = envelope(1, hook="a.b", timeout=0.5, cached=30, max_attempts=3)
    assert Envelope.open(made.seal()) == made
    assert Envelope.open(made.seal().encode()) == made


def test_the_six_keys_of_an_earlier_release_are_enough() -> None:
    task = {
        "id": "a" * 32,
        "name": "old",
        "func": "math.sqrt",
        "args": (4,),
        "kwargs": {},
        "started": clock.now(),
    }
    opened = Envelope.open(SignedPackage.dumps(task))
    assert opened.as_dict() == task


def test_missing_arguments_are_none() -> None:
    task = envelope().as_dict() | {"args": None, "kwargs": None}
    opened = Envelope.from_dict(task)
    assert (opened.args, opened.kwargs) == ((), {})


@pytest.mark.parametrize("thing", [None, 5, [], {}, {"id": "x"}, "text"])
def test_a_signed_package_without_a_task_is_refused(thing: Any) -> None:
    assert not is_task(thing)
    with pytest.raises(UnreadablePackage):
        Envelope.open(SignedPackage.dumps(thing))


def test_nothing_where_a_number_is_meant_is_fine() -> None:
    assert envelope(timeout=None, max_attempts=None).timeout is None


@pytest.mark.parametrize("wrong", ["5", [], float("nan"), object])
def test_a_number_that_is_none_counts_as_not_given_in_a_package(wrong: Any) -> None:
    task = envelope().as_dict() | {"timeout": wrong, "max_attempts": wrong}
    opened = Envelope.from_dict(task)
    assert opened.timeout is None
    assert opened.max_attempts is None


def test_unknown_keys_survive() -> None:
    task = envelope().as_dict() | {"tenant": 7}
    opened = Envelope.open(Envelope.from_dict(task).seal())
    assert opened.extra == {"tenant": 7}
    assert opened.as_dict()["tenant"] == 7


@pytest.fixture
def receiver() -> Iterator[list[Any]]:
    changes: list[Any] = []

    def amend(sender: Any, task: dict[str, Any], **_: Any) -> None:
        assert sender == "django_q"
        for change in changes:
            change(task)

    pre_enqueue.connect(amend)
    yield changes
    pre_enqueue.disconnect(amend)


def test_receivers_of_pre_enqueue_add_keys_and_change_values(
    receiver: list[Any],
) -> None:
    receiver.append(lambda task: task.update(tenant=7, group="theirs"))
    announced = envelope(1, group="ours").announced()
    assert announced.extra == {"tenant": 7}
    assert announced.group == "theirs"


def test_a_receiver_of_pre_enqueue_may_forbid_the_task(receiver: list[Any]) -> None:
    def forbid(_task: dict[str, Any]) -> None:
        raise PermissionError("not today")

    receiver.append(forbid)
    with pytest.raises(PermissionError, match="not today"):
        envelope().announced()


def test_settings_fill_in_what_the_call_leaves_open() -> None:
    options = Options(cached=60, sync=True, ack_failures=True)
    filled = envelope().with_defaults(options)
    assert (filled.cached, filled.sync, filled.ack_failure) == (60, True, True)
    given = envelope(cached=False, sync=False, ack_failure=False)
    assert given.with_defaults(options) == given
    assert envelope().with_defaults(Options()).sync is None


def test_the_cluster_that_serves_it_is_shown() -> None:
    made = envelope()
    served = made.served_by("mail")
    assert served.cluster == "mail"
    assert made.cluster is None
    assert served == replace(made, cluster="mail")


class TestChain:
    def test_the_last_member_has_no_next(self) -> None:
        assert envelope().next_link() is None
        assert envelope(chain=[]).next_link() is None

    def test_links_follow_with_what_the_chain_has_in_common(self) -> None:
        rest = [("math.sqrt", (4,)), add]
        first = envelope(chain=rest, group="g", cached=9, stop_on_failure=False)
        second = first.next_link()
        assert second is not None
        assert (second.func, second.args, second.kwargs) == ("math.sqrt", (4,), {})
        assert (second.group, second.cached) == ("g", 9)
        assert second.stop_on_failure is False
        third = second.next_link()
        assert third is not None
        assert (third.func, third.args) == (add, ())
        assert third.chain is None
        assert rest == [("math.sqrt", (4,)), add]

    def test_the_same_link_has_the_same_id(self) -> None:
        first = envelope(chain=[add, add])
        one, same = first.next_link(), first.next_link()
        assert one is not None
        assert same is not None
        assert one.id == same.id != first.id
        second = one.next_link()
        assert second is not None
        assert second.id not in (one.id, first.id)

    def test_a_link_of_any_id_has_a_next_one(self) -> None:
        task = envelope(chain=[add]).as_dict() | {"id": "made by hand"}
        link = Envelope.from_dict(task).next_link()
        assert link is not None
        assert len(link.id) == 32

    def test_a_link_has_options_of_its_own(self) -> None:
        own = {"x": 1, "timeout": 5, "q_options": {"cluster": "import", "group": "no"}}
        link = envelope(chain=[(add, (1,), own)], group="g").next_link()
        assert link is not None
        assert (link.timeout, link.cluster, link.group) == (5, "import", "g")
        assert link.kwargs == {"x": 1}

    def test_earlier_releases_find_what_they_need_to_go_on(self) -> None:
        first = envelope(chain=[(add, (), {"cached": 9}), add], group="g")
        task = first.as_dict()
        assert (task["group"], task["cached"], task["sync"]) == ("g", False, False)
        link = Envelope.from_dict(task).next_link()
        assert link is not None
        assert link.cached == 9
        assert not link.sync
        assert "cached" not in envelope().as_dict()


def test_a_hook_is_stored_so_that_it_is_found_again() -> None:
    assert hook_text("a.b") == "a.b"
    assert hook_text(log_result) == "tests.functions.log_result"
    assert hook_text(len) == "builtins.len"
    assert "<lambda>" in hook_text(lambda task: task)
    assert envelope(hook=log_result).hook_name == "tests.functions.log_result"
    assert envelope().hook_name is None


@pytest.mark.parametrize("func", [None, 5, "", ["shop.tasks.send"]])
def test_no_function_is_refused_at_the_call(func: Any) -> None:
    with pytest.raises(TypeError, match="A task is a function or its dotted path"):
        Envelope.from_call(func, (), {}, {})


@pytest.mark.parametrize("started", [None, "yesterday", 5])
def test_what_is_no_moment_becomes_now(started: Any) -> None:
    task = envelope().as_dict() | {"started": started}
    assert clock.now() - Envelope.from_dict(task).started < timedelta(seconds=5)


def test_moments_are_as_aware_as_the_project(settings: Any) -> None:
    def opened(started: datetime) -> datetime:
        return Envelope.from_dict(envelope().as_dict() | {"started": started}).started

    naive = datetime(2026, 1, 2, 3, 4)
    aware = naive.replace(tzinfo=UTC)
    assert opened(naive) == opened(aware) == aware
    settings.USE_TZ = False
    assert opened(naive) == opened(aware) == naive


def test_each_task_has_extras_of_its_own() -> None:
    one = Envelope.from_call("a.b", (), {}, {})
    others = [
        Envelope.from_call("a.b", (), {}, {}),
        one.called_with((2,)),
        Envelope.from_dict(one.as_dict()),
    ]
    one.extra["tenant"] = 7
    assert [other.extra for other in others] == [{}, {}, {}]


def test_extras_keep_the_order_of_the_dict() -> None:
    task = Envelope.from_call(add, (1, 2), {}, {}).as_dict()
    names = [f"key{n}" for n in range(20)]
    opened = Envelope.from_dict(task | dict.fromkeys(names, 7))
    assert list(opened.extra) == names
