"""Carriers: the brokers of this site, as they answer at this moment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from time import monotonic
from typing import NamedTuple

from django.utils.translation import gettext as _

from django_q.brokers import Broker, get_broker
from django_q.brokers.registry import places
from django_q.conf import Conf
from django_q.dashboard.wording import UNKNOWN
from django_q.exceptions import BrokerError
from django_q.logs import clean
from django_q.status import Stat, survey


class Carrier(NamedTuple):
    """A broker, and whether it answers."""

    queues: list[str]
    """The queues that the settings put there; it was opened for the first one."""

    broker: Broker | None = None
    """None: it does not answer."""

    kind: str = UNKNOWN
    info: str = UNKNOWN
    latency: float | None = None
    """Seconds that it took to answer."""

    error: Exception | None = None
    """Why it does not."""

    @property
    def complaint(self) -> str:
        """What to say when it does not."""
        text = _("The broker of %(queues)s can't be reached: %(reason)s")
        queues, reason = clean(", ".join(self.queues)), clean(self.error or "")
        return text % {"queues": queues, "reason": reason}


@contextmanager
def carriers(broker: Broker | None = None) -> Iterator[list[Carrier]]:
    """The given broker, or all of the settings, this process's own first; closed then.

    Raises what the first one raises where none of them answers.
    """
    with ExitStack() as stack:
        if broker is None:
            asked = [_try(queues, stack) for queues in places().values()]
        else:
            asked = [_ask([broker.short_key], broker)]
        first = asked[0].error
        if first is not None and all(carrier.error for carrier in asked):
            raise first
        yield asked


def ping(broker: Broker) -> float:
    """Seconds until the broker answered; raises BrokerError if it doesn't."""
    asked = monotonic()
    if not broker.ping():
        message = f"The broker ({broker.info()}) doesn't answer."
        raise BrokerError(message)
    return monotonic() - asked


def running_clusters(broker: Broker | None = None) -> list[Stat]:
    """The clusters in the order in which every screen shows them."""
    return sorted(survey(broker).stats, key=lambda stat: (stat.host, stat.pid))


def carrier_of(queue: str, asked: Sequence[Carrier]) -> Carrier:
    """Where a queue is; one that the settings do not name, where the base's is."""
    by_queue = {name: carrier for carrier in asked for name in carrier.queues}
    base = Conf.of_cluster("").queue
    return by_queue.get(queue) or by_queue.get(base) or asked[0]


def count(queue: str, carrier: Carrier) -> tuple[int, int] | None:
    """Packages that wait, and that are handed out; None where nobody answers."""
    broker = carrier.broker
    if broker is None:
        return None
    if queue == carrier.queues[0]:
        return _sizes(broker)
    with closing(get_broker(queue)) as other:
        return _sizes(other)


def _sizes(broker: Broker) -> tuple[int, int]:
    # Brokers of older projects may answer None.
    return broker.queue_size() or 0, broker.lock_size() or 0


def _try(queues: list[str], stack: ExitStack) -> Carrier:
    try:
        return _ask(queues, stack.enter_context(closing(get_broker(queues[0]))))
    except Exception as error:  # noqa: BLE001 - the others are to be seen
        return Carrier(queues, error=error)


def _ask(queues: list[str], broker: Broker) -> Carrier:
    latency, kind = ping(broker), type(broker).__name__.lower()
    return Carrier(queues, broker, kind, broker.info(), latency)
