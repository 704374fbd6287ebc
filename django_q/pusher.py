"""Pusher: takes packages from the broker and puts their tasks on a queue.

For code that drives the roles itself. The pusher of a cluster is in
`django_q.cluster.pushing`.
"""

from __future__ import annotations

import multiprocessing
import os
from typing import Any, Final

from django_q import results
from django_q.brokers import Broker, Delivery, get_broker
from django_q.brokers.front import pairs_in
from django_q.conf import get_options
from django_q.envelope import Envelope
from django_q.exceptions import UnreadablePackage
from django_q.legacy.dicts import Sink, Task
from django_q.logs import clean, logger

__all__ = ["pusher"]

PAUSE: Final = 10.0
"""Seconds after which a broker that failed is asked again."""


def pusher(task_queue: Sink, event: Any, broker: Broker | None = None) -> None:
    """Put the tasks of the broker on `task_queue` until `event` is set.

    The broker is asked once at least, so that with the event set this is one pass.
    What can't be opened is told to the broker as failed.
    """
    broker = broker or get_broker()
    title = multiprocessing.current_process().name
    logger.info("%s pushing tasks at %s", title, os.getpid())
    while True:
        try:
            push(task_queue, broker)
        except Exception:  # noqa: BLE001 - clients of brokers raise what they like
            logger.exception("%s can't use the broker", title)
            event.wait(PAUSE)
        if event.is_set():
            break
    logger.info("%s stopped pushing tasks", title)


def push(task_queue: Sink, broker: Broker) -> None:
    """Put what the broker gives at once on the queue."""
    for handed_out in pairs_in(broker.dequeue()):
        delivery = Delivery.of(handed_out)
        task = opened(delivery, broker)
        if task is not None:
            task_queue.put(task)


def opened(delivery: Delivery, broker: Broker) -> Task | None:
    """The task in a package, with the marks of who serves it; None if it has none."""
    try:
        envelope = Envelope.open(delivery.package)
    except UnreadablePackage as error:
        logger.warning("rejected package (%s)", clean(error))
    except Exception as error:  # noqa: BLE001 - unpickling runs foreign code
        reason = f"{type(error).__name__}: {clean(error, 2000)}"
        logger.error("a package can't be opened: %s", reason)
        record = results.unloadable_record(delivery.package, reason, look=True)
        results.save([record], using=results.write_alias())
    else:
        task = envelope.served_by(get_options().queue).as_dict()
        stamps = {"ack_id": delivery.receipt, "attempts": delivery.attempts}
        return task | stamps
    if delivery.receipt is not None:
        broker.fail(delivery.receipt)
    return None
