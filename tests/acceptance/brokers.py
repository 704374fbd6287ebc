"""Brokers of a project's own, for clusters that are started for a test."""

# The last two are in the form of earlier releases, whose verbs take other arguments.
# mypy: disable-error-code="assignment, override"

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from time import sleep, time_ns
from typing import Any, NoReturn

from django_q.brokers import Broker
from django_q.brokers.ironmq import IronMQBroker
from django_q.brokers.orm import ORM
from django_q.brokers.redis_broker import Redis
from django_q.clock import now
from django_q.conf import Conf, get_options


class Prefixed(ORM):
    """Calls its queue otherwise than the cluster is called."""

    def __init__(self, list_key: str | None = None) -> None:
        name = list_key or get_options().queue
        super().__init__(name if name.startswith("own:") else f"own:{name}")


class Poisoned(ORM):
    """Takes nothing back, for no reason that would pass."""

    def release(
        self, receipts: Sequence[str], *, delay: float = 0, failed: bool = False
    ) -> set[str]:
        if failed:
            raise ValueError("poison")
        return super().release(receipts, delay=delay, failed=failed)


class Deadly(Redis):
    """Kills whoever sends, before or after the package is on its queue."""

    def enqueue(self, package: str, **options: Any) -> NoReturn:
        if os.environ["QTEST_DIES"] == "after":
            super().enqueue(package, **options)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


class Brief(IronMQBroker):
    """Reserves for a shorter time than IronMQ allows, though its server here does."""

    lease_length = 2.0


class Folder(Broker):
    """Files in a folder: `.new`, `.taken`, `.failed`. The receipt is a path, no text."""

    @staticmethod
    def get_connection(list_key: str = Conf.PREFIX) -> Path:
        folder = Path(os.environ["QTEST_CACHE"]).with_name(f"queue-{list_key}")
        folder.mkdir(exist_ok=True)
        return folder

    def enqueue(self, task: str) -> str:
        super().enqueue(task)
        file: Path = self.connection / f"{time_ns()}.part"
        file.write_text(task)
        return file.rename(file.with_suffix(".new")).name

    def dequeue(self) -> tuple[Path, str] | None:
        super().dequeue()
        if (self.connection / "closed").exists():
            raise ConnectionError("the folder is closed")
        for file in sorted(self.connection.iterdir()):
            if file.suffix == ".new" or self.is_overdue(file):
                taken: Path = file.rename(file.with_suffix(".taken"))
                os.utime(taken)
                return taken, taken.read_text()
        sleep(Conf.POLL)
        return None

    def is_overdue(self, file: Path) -> bool:
        age = time_ns() / 1e9 - file.stat().st_mtime
        return file.suffix == ".taken" and age > Conf.RETRY

    def acknowledge(self, task_id: Path) -> None:
        task_id.unlink()

    def fail(self, task_id: Path) -> None:
        task_id.rename(task_id.with_suffix(".failed"))

    def queue_size(self) -> int:
        return len(list(self.connection.glob("*.new")))

    def lock_size(self) -> int:
        return len(list(self.connection.glob("*.taken")))


class Rows(ORM):
    """Takes rows its own way, by their bare keys."""

    def enqueue(self, task: str) -> int:
        return super().enqueue(task)

    def dequeue(self) -> list[tuple[int, str]] | None:
        rows = self.get_connection(self.list_key)
        free = rows.filter(key=self.list_key, lock__lt=now())
        taken = [
            (row.pk, row.payload)
            for row in free[: Conf.BULK]
            if rows.filter(pk=row.pk, lock=row.lock).update(lock=self.timeout(row))
        ]
        if not taken:
            sleep(Conf.POLL)
        return taken

    def acknowledge(self, task_id: int) -> bool:
        return self.delete(task_id)

    def delete(self, task_id: int) -> bool:
        rows = self.get_connection(self.list_key)
        return bool(rows.filter(pk=task_id).delete()[0])

    fail = delete
