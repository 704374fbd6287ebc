"""The screen of qmemory: its columns, the workers below, other hosts, no memory left."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import Any

import pytest

from django_q.dashboard.memory import (
    Footprint,
    MemorySnapshot,
    get_process_mb,
    lay_out,
    measure,
)
from django_q.dashboard.sheet import Line, Size, compose, text_of
from django_q.dashboard.wording import columns
from tests.unit.dashboard.figures import NOON, stat

DESIGN = Size(80, 24)
CAPTIONS = "Host Id Available % Available MB Total MB Sentinel Monitor Workers MB"


def footprint(number: int = 1, *, host: str = "orion", **figures: Any) -> Footprint:
    given: dict[str, Any] = {
        "stat": stat(number, host=host),
        "available": 9753.44,
        "total": 15936.0,
        "sentinel": 41.2,
        "monitor": 44.0,
        "workers": (38.2, 38.1, 38.1, None),
    }
    return Footprint(**(given | figures))


def lines_of(
    *footprints: Footprint, size: Size = DESIGN, workers: bool = False
) -> list[Line]:
    shown = MemorySnapshot(
        at=NOON, name="shop", broker="ORM default", footprints=footprints
    )
    return compose(lay_out(shown, size, workers=workers), size)


def texts(*footprints: Footprint, **how: Any) -> list[str]:
    return [text_of(line) for line in lines_of(*footprints, **how)]


def test_screen_of_80_by_24() -> None:
    lines = texts(footprint(1), footprint(2, host="phoenix"))

    assert len(lines) == 24
    assert lines[0].startswith(" django-q ")
    assert lines[1] == "─" * 80
    assert " ".join(lines[2].split()) == CAPTIONS
    assert lines[3].split() == [
        *("orion", "abcd0001", "61.2", "9,753.4", "15,936", "41.2", "44.0", "114.4"),
    ]
    assert lines[4].split()[:2] == ["phoenix", "abcd0002"]
    assert not any(" W1 " in line for line in lines)
    assert lines[-1] == " q quit"


def test_with_workers_each_has_a_column() -> None:
    lines = texts(
        footprint(workers=tuple(float(n) for n in range(10, 20))), workers=True
    )

    assert lines[4].split() == [
        *("W1", "10.0", "W2", "11.0", "W3", "12.0"),
        *("W4", "13.0", "W5", "14.0", "W6", "15.0"),
    ]
    assert lines[5].split()[:2] == ["W7", "16.0"]
    assert [line.index("W") for line in lines[4:6]] == [2, 2]
    assert lines[4].index("12.0") == lines[5].index("18.0")


def test_what_can_not_be_measured_is_a_dash() -> None:
    unknown: dict[str, Any] = dict.fromkeys(
        ("available", "total", "sentinel", "monitor")
    )
    lines = texts(footprint(workers=(None, None), **unknown), workers=True)

    assert lines[3].split() == ["orion", "abcd0001", *"------"]
    assert lines[4].split() == ["W1", "-", "W2", "-"]


@pytest.mark.parametrize(("available", "role"), [(99.0, "warn"), (101.0, "")])
def test_host_with_little_memory_left_is_marked(available: float, role: str) -> None:
    lines = lines_of(footprint(available=available, total=1000.0))
    cell = next(span for span in lines[3] if span.text.strip() in {"9.9", "10.1"})

    assert cell.role == role


def test_no_cluster_says_how_to_start_one() -> None:
    lines = texts()

    assert " No clusters are running." in lines
    assert " Start one in another terminal: python manage.py qcluster" in lines


@pytest.mark.parametrize("width", [1, 9, 40, 80, 133])
@pytest.mark.parametrize("height", [1, 5, 24])
def test_no_line_wraps_and_no_screen_scrolls(width: int, height: int) -> None:
    hosts = ["日本語" * 9, "\x1b[31m" * 9, "long" * 40, "a\nb"]
    rows = [footprint(n, host=host, sentinel=1e9) for n, host in enumerate(hosts)]

    lines = lines_of(*rows, size=Size(width, height), workers=True)

    assert len(lines) == height
    for line in lines:
        assert columns(text_of(line)) <= width
        assert text_of(line).isprintable()


def test_cluster_on_another_host_is_not_measured() -> None:
    """Its process ids mean other processes here."""
    here = os.getpid()
    far = measure(stat(host="elsewhere", sentinel=here, monitor=here, workers=[here]))

    assert (far.available, far.total, far.sentinel, far.monitor) == (None,) * 4
    assert far.workers == (None,)


def test_cluster_on_this_host_is_measured() -> None:
    here = os.getpid()
    mine = stat(
        host=socket.gethostname(), sentinel=here, monitor=0, workers=[here, here]
    )

    near = measure(mine)

    assert near.sentinel
    assert near.monitor is None
    assert near.worker_sum == pytest.approx(2 * near.sentinel, rel=0.2)
    assert near.share is not None
    assert 0 < near.share < 100


def test_memory_of_a_process_is_that_of_the_system() -> None:
    mb = get_process_mb(os.getpid())

    assert mb is not None
    assert 10 < mb < 10_000
    assert mb == round(mb, 2)


def test_memory_of_a_process_that_is_gone_is_none() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()

    assert get_process_mb(process.pid) is None
    assert get_process_mb(0) is None
