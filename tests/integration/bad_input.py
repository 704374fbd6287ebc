"""What tests of bad input share: a broker with any settings, odd names, who is told what."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.core.cache import cache
from django.utils import timezone

from django_q.brokers import Broker, get_broker
from django_q.exceptions import BrokerError, ConfigurationError, DjangoQError
from django_q.tasks import async_task
from tests.contract.brokers import packages_of, take, take_one

Entries = dict[str, Any]
Use = Callable[..., Broker]

SECRET = "geheim"

NAMES = {
    "blank": " ",
    "plain": "a",
    "capital": "A",
    "accent": "ä",
    "space behind": "a ",
    "slash": "a/b",
    "colon": "a:b",
    "like a key of ours": "a:later",
    "like another one": "a:q",
    "like those of a cluster": "a:held:" + "0" * 32,
    "dollar": "a$b",
    "command": "$cmd",
    "system": "system.users",
    "vital signs": "django_q:signs",
    "dots": "..",
    "one dot": ".",
    "dot in front": ".a",
    "quotes": """a'b"c`d""",
    "other alphabets": "Grüße, 世界, 🚀",
    "line break": "a\nb",
    "zero": "a\0b",
    "pattern": "*?[ab]\\",
    "placeholder": "%s %(x)s {} %2F",
    "percent": "a%2Fb",
    "address": "a?b#c&d=e",
    "FIFO": "a.fifo",
    "very long": "a" * 5000,
    "half a character": "a\ud800",
}


@pytest.fixture
def use(q_settings: Any) -> Iterator[Callable[..., Broker]]:
    """The broker that `get_broker` gives with these entries."""
    cache.clear()
    opened: list[Broker] = []

    def get(entries: Entries, queue: str | None = None) -> Broker:
        q_settings(**{"orm": None, "retry": 30, "poll": 0.02, **entries})
        opened.append(get_broker(queue or f"bad-{uuid4().hex[:8]}"))
        return opened[-1]

    yield get
    for broker in opened:
        with suppress(DjangoQError):
            broker.close()


def complaints(broker: Broker) -> list[str]:
    """What a site, a cluster and a look at the broker are told, each of them."""
    told = []
    for verb in (
        lambda: async_task("math.sqrt", 4, q_options={"broker": broker}),
        lambda: broker.enqueue("package", task_id="1" * 32),
        lambda: broker.dequeue(1),
        broker.ping,
    ):
        with pytest.raises((BrokerError, ConfigurationError)) as caught:
            verb()
        told.append(str(caught.value))
        assert SECRET not in told[-1]
        assert "\n" not in told[-1]
    return told


@contextmanager
def wrong_clock(hours: int) -> Iterator[Callable[[], datetime]]:
    """A clock of the client that is wrong, wherever this package reads it; the servers
    have their own.
    """
    with pytest.MonkeyPatch.context() as patch:
        now = timezone.now

        def wrong_now() -> datetime:
            return now() + timedelta(hours=hours)

        patch.setattr(timezone, "now", wrong_now)
        yield wrong_now


def keeps_time(use: Use, entries: Entries, hours: int) -> None:
    """Leases and delays are the server's, whatever one client takes for the time."""
    right = use(entries)
    right.enqueue("already there")
    right.enqueue("later", delay=600)
    with wrong_clock(hours):
        wrong = use(entries, right.short_key)
        wrong.enlist("a" * 32, 30)
        wrong.enqueue("by a wrong clock")
        wrong.enqueue("by a wrong clock, later", delay=600)
        taken = [take_one(wrong) for _ in range(2)]
        assert packages_of(taken) == ["already there", "by a wrong clock"]
        assert take(wrong, 9) == []
        receipts = [str(each.receipt) for each in taken]
        assert wrong.renew(receipts) == set(receipts)
    # What it holds is held, and what it delayed waits, for those with a right clock too.
    assert take(right, 9) == []
    assert wrong.acknowledge_many(receipts) == set(receipts)
    assert take(right, 9) == []
