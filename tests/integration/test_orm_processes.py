"""Many processes on one queue: every package reaches exactly one of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.conf import settings as django_settings

from django_q.brokers import get_broker
from django_q.models import OrmQ
from tests.crowd import START
from tests.waiting import wait_until

Start = Callable[..., subprocess.Popen[bytes]]

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def queue() -> str:
    return f"crowd-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def start(tmp_path: Path, queue: str) -> Iterator[Start]:
    """Starts a member of the crowd; what it says goes to a file beside the others'."""
    running: list[subprocess.Popen[bytes]] = []
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}

    def start_one(role: str, *words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", START, role, queue, *words]
        with (tmp_path / f"{role}-{len(running)}").open("wb") as out:
            running.append(
                subprocess.Popen(command, stdout=out, cwd=ROOT, env=environment)
            )
        return running[-1]

    yield start_one
    for process in running:
        process.kill()
        process.wait()


def said(folder: Path, role: str) -> list[str]:
    return [
        line
        for file in sorted(folder.glob(f"{role}-*"))
        for line in file.read_text().splitlines()
    ]


def test_eight_producers_and_three_consumers_share_a_queue(
    start: Start, tmp_path: Path
):
    consumers = [start("consume") for _ in range(3)]
    producers = [start("produce", "60") for _ in range(8)]
    for producer in producers:
        assert producer.wait(timeout=60) == 0
    wait_until(lambda: len(said(tmp_path, "consume")) >= 480, within=30)
    names = said(tmp_path, "consume")
    assert sorted(names) == sorted(
        f"{producer.pid}-{number}" for producer in producers for number in range(60)
    )
    assert not OrmQ.objects.exists()
    assert all(consumer.poll() is None for consumer in consumers)


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP])
def test_what_a_silent_cluster_held_is_taken_over_once(
    start: Start, queue: str, tmp_path: Path, fault: signal.Signals
):
    broker = get_broker(queue)
    for number in range(30):
        broker.enqueue(str(number))
    hoarder = start("hoard")
    wait_until(lambda: said(tmp_path, "hoard"), within=30)
    hoarder.send_signal(fault)
    for _ in range(2):
        start("consume")
    wait_until(lambda: not OrmQ.objects.exists(), within=30)
    wait_until(lambda: len(said(tmp_path, "consume")) >= 30)
    assert sorted(map(int, said(tmp_path, "consume"))) == list(range(30))
    broker.close()


def test_crowd_uses_the_database_of_this_run(start: Start, queue: str):
    assert start("produce", "2").wait(timeout=60) == 0
    assert OrmQ.objects.filter(key=queue).count() == 2
    assert django_settings.Q_CLUSTER["orm"] == "default"
