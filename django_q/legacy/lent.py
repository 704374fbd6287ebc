"""Roles of a cluster that are lent to a project's own function.

A project may put functions of its own in the place of `django_q.cluster.worker` and
`.scheduler`. They never see the lines and leases of a cluster: they get what looks like
the queues that they know.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from time import monotonic
from typing import Any, Final

from django_q import clock
from django_q.callables import resolve
from django_q.cluster.housekeeper import Chore, Housekeeper
from django_q.cluster.roles import Launch
from django_q.cluster.working import Worker
from django_q.envelope import Envelope
from django_q.execution import Runner
from django_q.execution.runner import Frame, NotRun
from django_q.legacy.dicts import STOP, Task, envelope_of, outcome_of
from django_q.options import Options
from django_q.outcome import Outcome

CALL_EVERY: Final = 1.0
"""Seconds between two calls of a project's own scheduler."""


class LentHousekeeper(Housekeeper):
    """Lets the project's own scheduler look for due schedules."""

    def setup(self) -> None:
        super().setup()
        self.own_scheduler = resolve(self.launch.replaced["scheduler"])

    def _plan_schedules(self) -> Chore:
        # Ours does not tell whether there is something to do: the other is called anyway.
        return Chore("the scheduler", self.fire_schedules)

    def fire_schedules(self) -> float:
        self.own_scheduler(broker=self.broker)
        return CALL_EVERY


class LentWorker(Worker):
    """Lets the project's own worker run each task."""

    def __init__(self, launch: Launch) -> None:
        super().__init__(launch)
        own_worker = resolve(launch.replaced["worker"])
        self.runner = LentRunner(self.options, own_worker)


class LentRunner(Runner):
    """Calls a function like `django_q.worker.worker` once for each task, with a queue
    that holds the task and then "STOP". The signals are its own business.
    """

    def __init__(self, options: Options, own_worker: Callable[..., Any]) -> None:
        super().__init__(options)
        self._own_worker = own_worker
        self._timer = multiprocessing.Value("f", -1)

    def execute(
        self, envelope: Envelope, *, attempt: int = 1, frame: Frame | None = None
    ) -> Outcome:
        outer = self._tidier.before()
        began = monotonic()
        perform = partial(self._lend_in_time, envelope)
        try:
            outcome = perform() if frame is None else frame(perform)
        except NotRun:
            self._tidier.after(outer)
            raise
        except BaseException as error:  # noqa: BLE001 - the project's function and task
            failure = self._failure(error)
            outcome = Outcome(envelope=envelope, stopped=clock.now(), **failure)
        self._tidier.after(outer)
        return outcome._replace(attempt=attempt, ran=monotonic() - began)

    def _lend_in_time(self, envelope: Envelope) -> Outcome:
        ends: list[Task] = []
        if envelope.undecided_options:
            envelope = envelope.decided_for(self._find(envelope.func))
        self.call_within(self.limit_of(envelope), self._lend, envelope, ends)
        return self._read(envelope, ends)

    def _lend(self, envelope: Envelope, ends: list[Task]) -> None:
        tasks, results = TaskQueue(envelope.as_dict()), ResultQueue(ends)
        self._own_worker(tasks, results, self._timer, self.options.timeout or -1)

    def _read(self, envelope: Envelope, ends: list[Task]) -> Outcome:
        """What the function made of the task."""
        if not ends:
            name = self._own_worker.__qualname__
            message = f"{name}, put in the place of the worker, gave no result."
            raise RuntimeError(message)
        extra = envelope_of(ends[0]).extra
        return outcome_of(ends[0])._replace(envelope=replace(envelope, extra=extra))


class TaskQueue:
    """A queue of one task."""

    def __init__(self, task: Task) -> None:
        self._left = [task]

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """The task, and then "STOP" for ever."""
        return self._left.pop() if self._left else STOP

    def qsize(self) -> int:
        return len(self._left)

    def empty(self) -> bool:
        return not self._left


class ResultQueue:
    """Where the end of the task goes."""

    def __init__(self, ends: list[Task]) -> None:
        self._ends = ends

    def put(self, task: Task, block: bool = True, timeout: float | None = None) -> None:
        self._ends.append(task)

    def qsize(self) -> int:
        return len(self._ends)

    def empty(self) -> bool:
        return not self._ends
