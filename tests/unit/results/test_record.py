"""A record travels as bytes and comes out the same."""

from __future__ import annotations

from django_q.results import Record
from tests.unit.results.making import ended, record_of


def test_what_goes_in_comes_out() -> None:
    record = record_of(ended("ü\0", group="g", hook="a.b"))
    full = record._replace(pause=1.5, link="package", link_id="a", link_queue="q")
    for made in (record, full):
        assert Record.from_bytes(made.to_bytes()) == made
