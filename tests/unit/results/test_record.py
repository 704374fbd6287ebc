"""A record travels as bytes and comes out the same; nothing else comes out."""

from __future__ import annotations

import pickle
from dataclasses import replace
from enum import IntEnum

import pytest
from django.utils.safestring import mark_safe

from django_q.results import Record
from tests.unit.results.making import ended, record_of


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


@pytest.mark.parametrize("foreign", [Often.TWICE, mark_safe("text"), print, object()])
def test_no_class_is_looked_for_when_bytes_are_read(foreign: object) -> None:
    with pytest.raises(pickle.UnpicklingError, match="only plain values"):
        Record.from_bytes(pickle.dumps((foreign,)))
