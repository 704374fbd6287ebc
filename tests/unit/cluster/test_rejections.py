"""What the log says of packages that are not ours, also when there are many."""

from __future__ import annotations

from hashlib import sha256

import pytest

from django_q.cluster.rejections import MINUTE, NAMED, Rejections


def test_rejected_package_is_told_of_without_its_content(
    caplog: pytest.LogCaptureFixture,
) -> None:
    Rejections().tell("secret \ud800", "not signed\nby us", 100.0)
    digest = sha256(b"secret ?").hexdigest()[:12]
    told = rf"rejected package (not signed\nby us, 8 bytes, sha256 {digest}…)"
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ("WARNING", told)
    ]


def test_many_within_a_minute_are_counted_and_the_next_minute_begins_anew(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rejections = Rejections()
    for _ in range(NAMED + 1234):
        rejections.tell("x", "reason", 100.0)
    assert len(caplog.records) == NAMED
    rejections.tell("x", "reason", 100.0 + MINUTE)
    *_, count, line = caplog.messages
    assert count == "rejected 1,234 more packages"
    assert line.startswith("rejected package (reason")
    rejections.sum_up()
    assert len(caplog.records) == NAMED + 2


def test_those_of_the_last_minute_are_counted_at_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rejections = Rejections()
    for _ in range(NAMED + 1):
        rejections.tell("x", "reason", 100.0)
    rejections.sum_up()
    assert caplog.messages[-1] == "rejected 1 more packages"
