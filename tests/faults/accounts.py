"""Accounts and transfers between them: what atomic tasks must never get wrong.

Each transfer writes a line into a journal inside its transaction. So whatever ran to its
commit twice is there twice, and what was rolled back is not there at all.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Final

from django.db import connection, models

ACCOUNTS: Final = 8
START: Final = 1000


class Account(models.Model):
    """Nobody checks that it stays above 0."""

    objects: ClassVar[models.Manager[Account]] = models.Manager()
    balance = models.IntegerField()

    class Meta:
        app_label = "faults"

    def __str__(self) -> str:
        return f"{self.pk}: {self.balance}"


class Entry(models.Model):
    """What was done. Not unique: the tests count."""

    objects: ClassVar[models.Manager[Entry]] = models.Manager()
    word = models.CharField(max_length=40, db_index=True)

    class Meta:
        app_label = "faults"

    def __str__(self) -> str:
        return self.word


@contextmanager
def opened_accounts() -> Iterator[None]:
    """The tables, for as long as a test lasts."""
    with connection.schema_editor() as editor:
        for model in (Account, Entry):
            editor.create_model(model)
    try:
        find_deadlocks_soon("50ms")
        numbers = range(1, ACCOUNTS + 1)
        Account.objects.bulk_create(Account(pk=n, balance=START) for n in numbers)
        yield
    finally:
        connection.close()
        find_deadlocks_soon("DEFAULT")
        with connection.schema_editor() as editor:
            for model in (Account, Entry):
                editor.delete_model(model)


def find_deadlocks_soon(after: str) -> None:
    """PostgreSQL waits a second before it looks for one."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            text = f"ALTER ROLE CURRENT_USER SET deadlock_timeout TO {after!r}"
            cursor.execute(text.replace("'DEFAULT'", "DEFAULT"))


def transfer(word: str, source: int, target: int, amount: int, pause: float) -> str:
    """Locks two accounts in the order given: two transfers may well lock each other out."""
    for number, change in ((source, -amount), (target, amount)):
        account = Account.objects.select_for_update().get(pk=number)
        account.balance += change
        account.save()
        time.sleep(pause)
    note(word)
    return word


def transfer_and_tell(word: str, *arguments: float) -> str:
    """A transfer that queues another task, in its transaction."""
    from django_q.conf import get_options  # noqa: PLC0415 - the apps are loaded now
    from django_q.tasks import async_task  # noqa: PLC0415

    queue = get_options().queue
    options = {"atomic": True, "cluster": queue, "retry_delay": 0.05}
    # It fails as well when the network breaks while it runs.
    options |= {"max_attempts": 10_000, "max_deliveries": 10_000}
    async_task("tests.faults.accounts.note", f"{word} told", q_options=options)
    return transfer(word, *arguments)  # type: ignore[arg-type]


def note(word: str) -> None:
    """A line in the journal."""
    Entry.objects.create(word=word)
