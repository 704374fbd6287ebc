"""qmemory in front of a real pseudo terminal, with two real clusters to measure."""

from __future__ import annotations

import re

import psutil
import pytest

from django_q.models import VitalSign
from django_q.status import Stat
from tests.acceptance.conftest import Runner
from tests.acceptance.harness import RunningCluster
from tests.acceptance.screens import TerminalProgram
from tests.waiting import wait_until

CAPTIONS = "Host Id Available % Available MB Total MB Sentinel Monitor Workers MB"


def qmemory(*arguments: str, **environment: str) -> TerminalProgram:
    return TerminalProgram("-m", "django", "qmemory", *arguments, **environment)


def vitals(cluster: RunningCluster) -> Stat:
    stat = cluster.stat()
    assert stat is not None
    return stat


def short_id(cluster: RunningCluster) -> str:
    return str(vitals(cluster).cluster_id)[-8:]


def row_of(screen: TerminalProgram, cluster: RunningCluster) -> list[str]:
    """The cells of the line of this cluster."""
    return next(line.split() for line in screen.lines if short_id(cluster) in line)


def mb(cell: str) -> float:
    return float(cell.replace(",", ""))


def test_two_clusters_are_measured_live(running_cluster: Runner) -> None:
    clusters = [running_cluster(workers=2), running_cluster(workers=8)]

    with qmemory("--workers") as screen:
        for cluster in clusters:
            screen.wait_to_show(short_id(cluster))

        assert " ".join(screen.lines[2].split()) == CAPTIONS
        for cluster in clusters:
            cells = row_of(screen, cluster)
            stat = vitals(cluster)
            total = psutil.virtual_memory().total / 1024**2
            assert mb(cells[4]) == pytest.approx(total, abs=1)
            rss = psutil.Process(stat.sentinel).memory_info().rss / 1024**2
            assert mb(cells[5]) == pytest.approx(rss, rel=0.5)
            assert all(mb(cell) > 5 for cell in cells[5:])
        assert len(re.findall(r" W1 +[\d.]+", screen.text)) == 2
        assert len(re.findall(r" W8 +[\d.]+", screen.text)) == 1
        assert all(len(line) <= 80 for line in screen.lines)

        clusters[0].stop()
        wait_until(lambda: len(re.findall(r" W1 +[\d.]+", screen.text)) == 1, 20)
        screen.type("q")

        assert screen.wait_for_end() == 0
        assert screen.was_given_back


def test_without_blessed_there_is_a_plain_snapshot_and_a_note() -> None:
    # Those of clusters of the tests before live some seconds longer.
    VitalSign.objects.all().delete()
    code = (
        "import sys; sys.modules['blessed'] = None\n"
        "from django.core.management import execute_from_command_line\n"
        "execute_from_command_line(['manage.py', 'qmemory'])"
    )
    with TerminalProgram("-c", code) as screen:
        assert screen.wait_for_end(30) == 0

        screen.wait_to_show("qmemory is live only with the package 'blessed'.")
        screen.wait_to_show("Run: python -m pip install blessed")
        screen.wait_to_show("No clusters are running.")
        assert b"\x1b" not in screen.written
