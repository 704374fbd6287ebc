"""A record travels as bytes and comes out the same; nothing else comes out."""

from __future__ import annotations

import pickle
from dataclasses import replace
from enum import IntEnum

import pytest
from django.utils.safestring import mark_safe

from django_q.results import Record
from tests.unit.results.making import OPTIONS, ended, record_of


class Often(IntEnum):
    TWICE = 2


def test_what_goes_in_comes_out() -> None:
    record = record_of(ended("ü\0", group="g", hook="a.b"))
    full = record._replace(pause=1.5, link="package", link_id="a", link_queue="q")
    for made in (record, full):
        assert Record.from_bytes(made.to_bytes()) == made


def test_values_of_subclasses_become_plain_ones() -> None:
    link = ("math.copysign", (1, 2), {"cluster": mark_safe("other")})
    outcome = ended(3, task_name=mark_safe("n"), group=mark_safe("g"), chain=[link])
    envelope = replace(
        outcome.envelope,
        func=mark_safe("math.copysign"),
        cluster=mark_safe("c"),
        hook=mark_safe("a.b"),
        max_attempts=Often.TWICE,
    )
    record = record_of(outcome._replace(envelope=envelope))
    assert {type(value) for value in record} == {str, int, float, bool, type(None)}
    assert Record.from_bytes(record.to_bytes()) == record


class Measured(float):
    """As those of numpy: what is worked out with it is of its kind."""

    def __mul__(self, other: float) -> Measured:
        return Measured(float(self) * other)

    __rmul__ = __mul__


def test_pause_is_plain_whatever_kind_of_number_the_settings_have() -> None:
    options = replace(OPTIONS, max_attempts=2, retry_delay=Measured(2.0))
    record = record_of(ended(success=False), options)
    assert type(record.pause) is float
    assert Record.from_bytes(record.to_bytes()) == record


def test_what_is_not_plain_is_refused_where_it_is_written() -> None:
    record = record_of(ended())._replace(attempts_allowed=Often.TWICE)
    with pytest.raises(pickle.PicklingError, match=r"can't hold .*Often"):
        record.to_bytes()


@pytest.mark.parametrize("foreign", [Often.TWICE, mark_safe("text"), print, object()])
def test_no_class_is_looked_for_when_bytes_are_read(foreign: object) -> None:
    with pytest.raises(pickle.UnpicklingError, match="only plain values"):
        Record.from_bytes(pickle.dumps((foreign,)))
