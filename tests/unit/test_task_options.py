"""What the options of a task may be, and where they stand in a call."""

from __future__ import annotations

import math
import uuid
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from django_q.brokers.memory import Memory
from django_q.envelope import Envelope
from django_q.task_options import (
    TASK_OPTIONS,
    check_options,
    split_link,
    split_options,
)
from tests.functions import add


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("a.b", ("a.b", (), {})),
        (["a.b", (1,)], (["a.b", (1,)], (), {})),
        (("a.b",), ("a.b", (), {})),
        (("a.b", [1]), ("a.b", (1,), {})),
        (("a.b", (1,), {"x": 2}), ("a.b", (1,), {"x": 2})),
    ],
)
def test_members_of_a_chain(link: Any, expected: Any) -> None:
    assert split_link(link) == expected


class TestOptions:
    def test_options_do_not_reach_the_function(self) -> None:
        options, rest = split_options("a.b", {"group": "g", "x": 1, "task_name": "n"})
        assert options == {"group": "g", "task_name": "n"}
        assert rest == {"x": 1}

    def test_an_option_in_q_options_beats_the_keyword_which_the_function_gets(
        self,
    ) -> None:
        given = {"group": "mine", "save": False, "q_options": {"group": "g"}}
        options, rest = split_options("a.b", given)
        assert options == {"group": "g", "save": False}
        assert rest == {"group": "mine"}

    def test_unknown_q_options_are_dropped(self) -> None:
        assert split_options("a.b", {"q_options": {"colour": "red"}}) == ({}, {})

    def test_no_q_options_at_all(self) -> None:
        assert split_options("a.b", {"q_options": None, "x": 1}) == ({}, {"x": 1})

    def test_the_keyword_wins_for_the_name_of_the_task(self) -> None:
        options, _ = split_options(
            "a.b", {"task_name": "k", "q_options": {"task_name": "q"}}
        )
        assert options == {"task_name": "k"}

    def test_an_id_comes_only_in_q_options(self) -> None:
        given = {"task_id": 1, "q_options": {"task_id": "a"}}
        assert split_options("a.b", given) == ({"task_id": "a"}, {"task_id": 1})

    def test_the_callers_dict_stays_as_it_is(self) -> None:
        chosen = {"task_name": "n", "group": "g"}
        split_options("a.b", {"q_options": chosen})
        assert chosen == {"task_name": "n", "group": "g"}

    def test_the_closed_set(self) -> None:
        assert {
            *("hook", "group", "save", "sync", "cached", "ack_failure", "broker"),
            *("iter_count", "iter_cached", "chain", "cluster", "timeout"),
            *("max_attempts", "retry_delay", "retry_delay_max", "max_deliveries"),
            *("stop_on_failure", "outbox", "atomic"),
        } == TASK_OPTIONS


def test_options_that_are_no_dictionary_are_refused() -> None:
    with pytest.raises(TypeError, match="q_options must be a dictionary, not 'x'"):
        split_options("a.b", {"q_options": "x"})


class Unprintable:
    def __repr__(self) -> str:
        raise SystemExit


GOOD: list[tuple[str, Any]] = [
    *((name, None) for name in sorted(TASK_OPTIONS)),
    ("hook", add),
    ("hook", "shop.hooks.done"),
    ("group", "night"),
    ("group", 7),
    ("group", uuid.uuid4()),
    ("task_name", "monthly"),
    ("cluster", "long"),
    ("broker", Memory()),
    *(
        (name, True)
        for name in ("save", "sync", "ack_failure", "stop_on_failure", "outbox")
    ),
    ("save", 0),
    ("cached", 300),
    ("cached", True),
    ("timeout", 0.5),
    ("timeout", -1),
    ("retry_delay", 0),
    ("max_attempts", 0),
    ("max_attempts", 5),
    ("max_deliveries", 1),
    ("chain", ["a.b", add, ("a.b",), ("a.b", (1,), {"timeout": 5})]),
    ("chain", ()),
]


@pytest.mark.parametrize(("name", "value"), GOOD)
def test_what_an_option_may_be(name: str, value: Any) -> None:
    check_options({name: value})


BAD: list[tuple[str, Any, str]] = [
    ("hook", 5, "a function or its dotted path, not 5"),
    ("group", ["night"], "text, not \\['night'\\]"),
    ("cluster", 5, "text of at most 100 characters, not 5"),
    ("broker", "redis", "a broker, not 'redis'"),
    ("save", "no", "True or False, not 'no'"),
    ("sync", "yes", "True or False, not 'yes'"),
    ("cached", "x", "True, False or a number of seconds, not 'x'"),
    ("timeout", "5", "a number of seconds, not '5'"),
    ("timeout", math.inf, "a number of seconds, not inf"),
    ("timeout", math.nan, "a number of seconds, not nan"),
    ("timeout", timedelta(minutes=1), "a number of seconds, not datetime.timedelta"),
    ("timeout", True, "a number of seconds, not True"),
    ("max_attempts", True, "a whole number from 0 up, not True"),
    ("cluster", "c" * 101, "text of at most 100 characters, not 'ccc"),
    ("hook", "", "a function or its dotted path, not ''"),
    ("timeout", Decimal(5), "a number of seconds, not Decimal"),
    ("retry_delay", -1, "a number of seconds from 0 up, not -1"),
    ("retry_delay_max", math.inf, "a number of seconds from 0 up, not inf"),
    ("max_attempts", 2.5, "a whole number from 0 up, not 2.5"),
    ("max_attempts", -1, "a whole number from 0 up, not -1"),
    ("max_deliveries", 0, "a whole number from 1 up, not 0"),
    ("iter_count", "3", "a whole number from 0 up, not '3'"),
    ("chain", "a.b", "a list of functions or \\(function, args, kwargs\\), not 'a.b'"),
    ("chain", [5], "a list of functions"),
    ("chain", [("a.b", 5)], "a list of functions"),
    ("chain", [("a.b", (), {"timeout": "5"})], "a list of functions"),
    ("group", {Unprintable()}, "text, not <.*without text>"),
]


@pytest.mark.parametrize(("name", "value", "words"), BAD)
def test_what_it_may_not_be_is_said_at_the_call(
    name: str, value: Any, words: str
) -> None:
    with pytest.raises(TypeError, match=f"^'{name}' must be {words}"):
        Envelope.from_call("a.b", (), {}, {name: value})


@pytest.mark.parametrize("name", ["timeout", "max_attempts", "cached"])
def test_an_impossible_number_in_a_package_counts_as_not_given(name: str) -> None:
    task = Envelope.from_call("a.b", (), {}, {}).as_dict() | {name: "5"}
    assert getattr(Envelope.from_dict(task), name) is None
