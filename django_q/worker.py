"""Worker: runs the tasks of one queue and puts their ends on another.

For code that drives the roles itself. The workers of a cluster are in
`django_q.cluster.working`, on the same bench.
"""

from __future__ import annotations

import multiprocessing
import os
from contextlib import closing
from dataclasses import replace
from typing import Any, Final

from django_q import conf, results
from django_q.cluster.wear import resident_memory_kb
from django_q.conf import get_options
from django_q.execution import Runner
from django_q.legacy import elsewhere
from django_q.legacy.dicts import STOP, Sink, Source, Task, ended, envelope_of
from django_q.logs import clean, logger
from django_q.signals import announce, post_spawn

__all__ = ["rss_check", "worker"]

ELSEWHERE: Final = {
    "Conf": "django_q.conf",
    "TimeoutException": "django_q.exceptions",
    "TimeoutHandler": "django_q.timeout",
    "close_old_django_connections": "django_q.utils",
    "error_reporter": "django_q.conf",
    "get_func_repr": "django_q.utils",
    "post_execute_in_worker": "django_q.signals",
    "pre_execute": "django_q.signals",
    "psutil": "django_q.conf",
    "resource": "django_q.conf",
    "setproctitle": "django_q.conf",
    "timezone": "django.utils",
}
"""What a worker of a project's own, made after the older ones, looks for here."""


def __getattr__(name: str) -> Any:
    return elsewhere.find(__name__, ELSEWHERE, name)


IDLE: Final = -1
RECYCLED: Final = -2


def worker(
    task_queue: Source, result_queue: Sink, timer: Any, timeout: float | None = None
) -> None:
    """Run the task dicts of `task_queue` until "STOP" comes or the worker is worn out.

    `timer`, a shared float, says how it is: the limit of the task that runs, -1 between
    tasks and for one without a limit, -2 when it left to be recycled. `timeout` is for
    tasks that bring none; None: the setting.
    """
    options = get_options()
    if timeout is not None:
        options = replace(options, timeout=timeout)
    # The process of an application, for example of its tests, is left as it was found.
    owns_process = multiprocessing.parent_process() is not None
    title = multiprocessing.current_process().name
    announce(post_spawn, proc_name=title)
    logger.info("%s ready for work at %s", title, os.getpid())
    done, timer.value = 0, IDLE
    bench = Runner(options, owns_process=owns_process, reporter=conf.error_reporter)
    with closing(bench) as runner:
        for task in iter(task_queue.get, STOP):
            result_queue.put(run(runner, task, timer))
            done, timer.value = done + 1, IDLE
            if 0 < options.recycle <= done or rss_check():
                timer.value = RECYCLED
                break
    logger.info("%s stopped doing work", title)


def run(runner: Runner, task: Task, timer: Any) -> Task:
    """Run one task; gives its dict with what came of it."""
    cluster = task.get("cluster") or runner.options.queue
    envelope = envelope_of(task).served_by(cluster, ack_id=task.get("ack_id"))
    timer.value = runner.limit_of(envelope) or IDLE
    logger.info("▶ %s [%s]", clean(envelope.func_name), clean(envelope.name))
    outcome = runner.execute(envelope)
    # A queue of multiprocessing loses without a word what it can't pickle.
    outcome, _encoded = results.encode_result(outcome, runner.options)
    return ended(task, outcome)


def rss_check() -> bool:
    """Whether this process has reached the memory that `max_rss` allows a worker."""
    limit = get_options().max_rss
    return limit is not None and resident_memory_kb() >= limit
