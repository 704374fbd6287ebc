"""Monitor: saves what came of tasks, for code that drives the roles itself.

The monitor of a cluster is in `django_q.cluster.monitoring`. In earlier releases this
module also was where `django_q.status` and `django_q.monitor_terminal` are now: their
names are found here still. Only `monitor` is the function that saves, and not the one
that draws.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from django_q import results
from django_q.brokers import Broker, get_broker
from django_q.conf import get_options
from django_q.envelope import Envelope
from django_q.execution.connections import tidy_connections
from django_q.legacy import elsewhere
from django_q.legacy.dicts import STAMPS, STOP, Source, Task, outcome_of
from django_q.logs import clean, logger
from django_q.models import Task as Row
from django_q.options import Options
from django_q.outcome import Outcome
from django_q.results import Record
from django_q.signals import announce, post_execute
from django_q.tasks.enqueue import dispatch

__all__ = ["monitor", "save_cached", "save_task"]

ELSEWHERE: Final = {
    "Stat": "django_q.status",
    "get_ids": "django_q.monitor_terminal",
    "get_process_mb": "django_q.monitor_terminal",
    "info": "django_q.monitor_terminal",
    "memory": "django_q.monitor_terminal",
}


def __getattr__(name: str) -> Any:
    return elsewhere.find(__name__, ELSEWHERE, name)


def monitor(result_queue: Source, broker: Broker | None = None) -> None:
    """Save the ended tasks of `result_queue`, until "STOP" comes, and acknowledge them.

    A failed one that may run again goes back to the broker instead.
    """
    broker = broker or get_broker()
    title = multiprocessing.current_process().name
    logger.info("%s monitoring at %s", title, os.getpid())
    for task in iter(result_queue.get, STOP):
        save = save_cached if task.get("cached") else save_task
        is_saved = save(task, broker)
        if is_saved and task["success"] and task.get("ack_id") is not None:
            broker.acknowledge(task["ack_id"])
        tell(task)
    logger.info("%s stopped monitoring results", title)


def save_task(task: Task, broker: Broker | None = None) -> bool:
    """Save what came of a task as a row, send the next link of its chain, call its hook.

    Each failure leaves a row, which counts the attempts; after the last one the task is
    acknowledged, before it goes back to the broker. Errors are logged and make it False.
    """
    return _try(_uncached, task, broker)


def save_cached(task: Task, broker: Broker | None = None) -> bool:
    """As save_task, but the result goes into the cache. The last part of an iterable
    makes the whole.
    """
    return _try(_cached, task, broker)


def _try(reading: Callable[[Task], Outcome], task: Task, broker: Broker | None) -> bool:
    if not task.get("sync"):
        tidy_connections()
    try:
        _settle(reading(task), task, broker or get_broker())
    except Exception:  # noqa: BLE001 - whatever databases, caches and brokers raise
        logger.exception("Could not save task result [%s]", clean(task.get("name")))
        return False
    return True


def _uncached(task: Task) -> Outcome:
    """What came of a task whose runs its row counts. After a success none counts."""
    rows = Row.objects.using(results.write_alias()).filter(pk=task["id"])
    runs, has_succeeded = rows.values_list("attempt_count", "success").first() or (
        0,
        False,
    )
    if has_succeeded:
        outcome = outcome_of(task, attempt=runs)
        return _with(outcome, cached=None, hook=None)
    before = max(runs, task.get("attempts") or 0)
    return _with(outcome_of(task, attempt=before + 1), cached=None)


def _cached(task: Task) -> Outcome:
    """What came of a task whose result the cache is to keep."""
    outcome = outcome_of(task, attempt=1 + (task.get("attempts") or 0))
    return _with(outcome, cached=outcome.envelope.cached or True)


def _with(outcome: Outcome, **options: Any) -> Outcome:
    """The outcome of a task with other options."""
    return outcome._replace(envelope=replace(outcome.envelope, **options))


def _settle(outcome: Outcome, task: Task, broker: Broker) -> None:
    """Save, go on with the chain, tell the broker of a failure, call the hook."""
    options, receipt = get_options(), task.get("ack_id")
    if receipt is None:
        # Nobody will bring it back: this run is the only one.
        outcome = _with(outcome, max_attempts=1)
    ended, record = results.conclude(outcome, options, broker.list_key)
    if not (record.success or record.keep or outcome.envelope.cached):
        record = results.keep_in_row(ended, record, options)
    _write(record, options)
    if record.link:
        link = Envelope.open(record.link)
        dispatch(link, broker if record.link_queue == options.queue else None)
    if receipt is not None and not record.success:
        _tell_broker(record, receipt, broker)
    if ended.last_part is not None:
        results.forget_parts(ended.last_part, options, broker.list_key)
    if record.pause is None:
        results.run_hook(ended, options)


def _write(record: Record, options: Options) -> None:
    if record.keep:
        alias = results.write_alias()
        results.save([record], using=alias)
        # A task dict does not tell which process ran it, nor from when on.
        results.save_attempts([record._replace(worker="")], using=alias)
        results.prune(options, using=alias)


def _tell_broker(record: Record, receipt: str, broker: Broker) -> None:
    """A failed task runs again, or it is done."""
    if record.pause is None:
        broker.acknowledge(receipt)
    else:
        broker.release([receipt], delay=record.pause, failed=True)


def tell(task: Task) -> None:
    """Announce the end of a task, and say it in the log."""
    told = {key: value for key, value in task.items() if key not in STAMPS}
    try:
        announce(post_execute, task=told)
    except Exception:  # noqa: BLE001 - receivers raise what they like
        name = clean(task["name"])
        logger.exception("a receiver of post_execute failed on [%s]", name)
    outcome = outcome_of(task)
    func, name = clean(outcome.envelope.func_name), clean(task["name"])
    if outcome.success:
        logger.info("✓ %s [%s]", func, name)
    else:
        logger.error("✕ %s [%s] failed: %s", func, name, clean(outcome.summary))
