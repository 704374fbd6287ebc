"""The screen of qmonitor: columns, legend, and that nothing ever wraps."""

from __future__ import annotations

import pytest

from django_q.dashboard import frame
from django_q.dashboard.sheet import (
    Line,
    Size,
    compose,
    encodable,
    room_for_rows,
    text_of,
)
from django_q.dashboard.snapshot import Snapshot
from django_q.dashboard.wording import columns
from tests.unit.dashboard.figures import queue, snapshot, stat, tasks

DESIGN = Size(80, 24)


def lay_out(shown: Snapshot, size: Size, *, first: int = 0) -> list[Line]:
    return compose(frame.lay_out(shown, size), size, first=first)


def texts(shown: Snapshot, size: Size = DESIGN, *, first: int = 0) -> list[str]:
    return [text_of(line) for line in lay_out(shown, size, first=first)]


def role_of(lines: list[Line], text: str) -> str:
    """The role of the first piece of text that is this."""
    spans = [span for line in lines for span in line]
    return next(span.role for span in spans if span.text.strip() == text)


def test_screen_of_80_by_24() -> None:
    working = stat(
        1, task_q_size=23, done_q_size=2, reincarnations=1, tob=None, status="Working"
    )
    idle = stat(2, host="phoenix", status="Idle", busy=0)

    lines = texts(snapshot(working, idle))

    assert len(lines) == 24
    assert lines[0].startswith(" django-q ")
    assert lines[0].endswith("   12:00:00")
    assert lines[1] == (
        " Waiting 12   Running 3/8   Done/min 412   Failed 24h 3 (0.3 %)"
    )
    assert lines[2] == "─" * 80
    assert lines[3].split() == ["Host", "Id", "State", "Pool", "TQ", "RQ", "RC", "Up"]
    assert lines[4].split() == [
        *("orion", "abcd0001", "Working", "3/4", "23", "2", "1", "0:00:00"),
    ]
    assert lines[5].split()[:4] == ["phoenix", "abcd0002", "Idle", "0/4"]
    assert lines[-4] == " ORM default   Queued 12(3)   Success 1,204   Failures 23"
    assert lines[-1] == " q quit"


def test_legend_explains_every_short_column() -> None:
    legend = " ".join(texts(snapshot(stat()))[-3:-1])

    for short in ("Pool", "TQ", "RQ", "RC", "Up"):
        assert f" {short} " in legend


def test_queued_names_locked_ones_only_if_there_are_any() -> None:
    without = snapshot(stat(), queues=(queue(waiting=5, locked=0),))

    assert " Queued 5 " in texts(without)[-4]


def test_task_queue_is_green_at_its_limit() -> None:
    def role(size: int, limit: int | None) -> str:
        full = stat(task_q_size=size, task_q_limit=limit)
        return role_of(lay_out(snapshot(full), DESIGN), str(size))

    assert role(15, 16) == ""
    assert role(16, 16) == "ok"
    assert role(17, 16) == "ok"
    assert role(17, None) == ""
    assert role(0, 0) == ""


@pytest.mark.parametrize(
    ("state", "role"),
    [("Working", "info"), ("Idle", ""), ("Stopping", "warn"), ("Stopped", "bad")],
)
def test_colour_of_a_state(state: str, role: str) -> None:
    lines = lay_out(snapshot(stat(status=state)), DESIGN)

    assert role_of(lines, state) == role


def test_pool_of_a_cluster_that_does_not_tell_how_many_are_busy() -> None:
    old = stat(busy=None, queue=None)

    assert texts(snapshot(old))[4].split()[3] == "4"
    assert "Running -/4" in texts(snapshot(old))[1]


def test_no_cluster_says_how_to_start_one() -> None:
    lines = texts(snapshot(queues=()))

    assert " No clusters are running." in lines
    assert " Start one in another terminal: python manage.py qcluster" in lines


def test_queue_without_a_cluster_is_an_alert() -> None:
    lines = texts(snapshot(stat(), queues=(queue("mail"), queue("shop", stat()))))

    assert (
        lines[2]
        == " ▲ mail has no cluster. Start one: python manage.py qcluster --name mail"
    )
    assert len(lines) == 24


def test_wide_screen_shows_the_queue_too() -> None:
    lines = texts(snapshot(stat(queue="mail")), Size(120, 30))

    assert lines[3].split()[-1] == "Queue"
    assert lines[4].split()[-1] == "mail"


def test_narrow_screen_drops_columns_from_the_right() -> None:
    captions = texts(snapshot(stat()), Size(60, 10))[3].split()

    assert captions == ["Host", "Id", "State", "Pool", "TQ", "RQ"]


@pytest.mark.parametrize("width", [1, 9, 20, 40, 60, 80, 133, 200])
@pytest.mark.parametrize("height", [1, 3, 10, 24, 60])
def test_no_line_wraps_and_no_screen_scrolls(width: int, height: int) -> None:
    hosts = ["日本語" * 9, "\x1b[31m" * 9, "long" * 40, "a\nb"]
    clusters = [
        stat(number, host=host, queue="日本" * 20, task_q_size=10**12, status="é" * 30)
        for number, host in enumerate(hosts)
    ]
    shown = snapshot(
        *clusters,
        name="name" * 99,
        broker="\x1b]0;title\x07" * 9,
        tasks=tasks(successes=10**15, failed_24h=10**9),
    )

    lines = lay_out(shown, Size(width, height))

    assert len(lines) == height
    for line in lines:
        assert columns(text_of(line)) <= width
        assert text_of(line).isprintable()


def test_more_clusters_than_lines_scroll() -> None:
    many = snapshot(*(stat(number) for number in range(30)))
    room = room_for_rows(frame.lay_out(many, DESIGN), DESIGN)

    lines = texts(many, first=4)

    assert len(lines) == 24
    assert lines[4].split()[1] == "abcd0004"
    assert lines[3 + room].split()[1] == f"abcd{4 + room - 1:04x}"
    assert lines[-1] == f" q quit   ↑↓ scroll   5-{4 + room} of 30"


def test_without_a_height_everything_is_shown() -> None:
    many = snapshot(*(stat(number) for number in range(30)))

    lines = texts(many, Size(80))

    assert len(lines) == 4 + 30 + 4
    assert not any("quit" in line for line in lines)


def test_low_screen_goes_without_the_legend() -> None:
    lines = texts(snapshot(stat()), Size(80, 12))

    assert len(lines) == 12
    assert lines[-2].startswith(" ORM default")


def test_marks_are_replaced_where_the_encoding_lacks_them() -> None:
    assert encodable(" ▲ ──… é", "utf-8") == " ▲ ──… é"
    assert encodable(" ▲ ──… é", "ANSI_X3.4-1968") == " ! --. ?"
    assert encodable(" ▲ ──… é", "iso-8859-1") == " ! --. é"
