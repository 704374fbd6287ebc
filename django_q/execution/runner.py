"""Runner: executes one envelope to one outcome, as a pipeline of steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from time import monotonic
from typing import Any

from django_q import clock
from django_q.allowed import find_function
from django_q.envelope import KNOWN_KEYS, Envelope
from django_q.exceptions import TaskNotAllowed, TaskNotFound, TimeoutException
from django_q.execution.connections import Tidier, Untouched
from django_q.execution.coroutines import EventLoop, is_awaitable, refuse, run_inline
from django_q.execution.failures import describe, explain_missing, shorten, summarise
from django_q.execution.reporters import Reporter, load_reporters
from django_q.execution.timeouts import Limit, TimeLimit
from django_q.logs import clean, logger, print_safely
from django_q.options import Options
from django_q.outcome import Cause, Outcome
from django_q.signals import announce, post_execute_in_worker, pre_execute

Function = Callable[..., Any]
Perform = Callable[[], Outcome]
Frame = Callable[[Perform], Outcome]
"""What goes on around the call of a task's function, such as a transaction: it performs
it, and gives the outcome. What it raises is the task's failure, unless it is NotRun.
"""


class NotRun(Exception):
    """Raised by a frame that did not perform its task."""


@dataclass
class Run:
    """One run of a task, while it goes on."""

    envelope: Envelope
    attempt: int
    began: float
    awaits: bool
    """Whether its function may be a coroutine's."""

    func: Function | None = None
    """The function, once it was found."""

    @cached_property
    def task(self) -> dict[str, Any]:
        """The dict that receivers and error reporters get. Few tasks have any."""
        return self.envelope.as_shown()


class Runner:
    """Runs tasks, one after the other. Whatever a task does, there is an outcome."""

    def __init__(
        self,
        options: Options,
        *,
        owns_process: bool = True,
        reporter: Reporter | None = None,
    ) -> None:
        """`owns_process`: False in an application's own process, which is left as it
        was found: signal handler, timer, event loop, connections.

        `reporter` is told of errors; None: those that the options name.
        """
        self.options = options
        self._born = clock.now().timestamp()
        self._owns_process = owns_process
        self._functions: dict[str, Function] = {}
        self._limit: Limit = TimeLimit(owns_process=owns_process)
        self._tidier = Tidier() if owns_process else Untouched()
        self._event_loop = EventLoop()
        self._reporter = reporter or load_reporters(options.error_reporter)

    def close(self) -> None:
        """End the event loop of the coroutines, and what still runs in it."""
        self._event_loop.close()

    def execute(
        self, envelope: Envelope, *, attempt: int = 1, frame: Frame | None = None
    ) -> Outcome:
        """Run a task. What the task raises becomes a failure; only NotRun is raised.

        A `frame` ends before anybody is told how the task ended.
        """
        outer = self._tidier.before()
        run = Run(envelope, attempt, monotonic(), awaits=frame is None)
        try:
            if frame is None:
                outcome = self._perform_in_time(run)
            else:
                outcome = frame(partial(self._perform_in_time, run))
        except NotRun:
            self._tidier.after(outer)
            raise
        except BaseException as error:  # noqa: BLE001 - tasks raise anything at all
            # Error reporters look for a local variable of this name in the frames.
            task = run.task  # noqa: F841
            outcome = self._outcome_of(run, **self._failure(error))
        if post_execute_in_worker.receivers or pre_execute.receivers:
            outcome = self._announce_end(outcome, run)
        self._tidier.after(outer)
        return outcome

    def is_atomic(self, envelope: Envelope) -> bool:
        """Whether the task, or else the cluster, wants to be one transaction."""
        own = envelope.atomic
        if own is not None and "atomic" in (envelope.undecided_options or ()):
            own = self._decide_atomic(envelope)
        return bool(self.options.atomic if own is None else own)

    def _decide_atomic(self, envelope: Envelope) -> bool | None:
        try:
            return envelope.decided_for(self._find(envelope.func)).atomic
        except BaseException:  # noqa: BLE001 - it will be raised again, and told then
            return False

    def lost(
        self, envelope: Envelope, cause: Cause, text: str, *, attempt: int = 1
    ) -> Outcome:
        """The outcome of a task whose worker died, as `text` tells."""
        return Outcome(
            envelope=envelope,
            success=False,
            result=shorten(text),
            stopped=clock.now(),
            cause=cause,
            attempt=attempt,
            summary=clean(text.partition("\n")[0]),
        )

    def call_within(self, seconds: float | None, func: Function, *args: Any) -> Any:
        """`func(*args)`; TimeoutException is raised inside it after so many seconds."""
        return self._limit.call(seconds, func, *args)

    def limit_of(self, envelope: Envelope) -> float | None:
        """Seconds that a task may run: its own limit, else the cluster's; None: any."""
        own, general = envelope.timeout, self.options.timeout
        limit = general if own is None else own
        return limit if limit is not None and limit > 0 else None

    def _perform_in_time(self, run: Run) -> Outcome:
        limit = self.limit_of(run.envelope)
        began = run.began = monotonic()
        value = self._limit.call(limit, self._perform, run)
        ran = monotonic() - began
        return Outcome(run.envelope, True, value, clock.now(), ran, attempt=run.attempt)

    # -- the steps, all of them within the time limit

    def _perform(self, run: Run) -> Any:
        """Resolve, announce, call. Receivers may still change the arguments."""
        try:
            func = run.func = self._find(run.envelope.func)
        except TaskNotFound:
            announce(pre_execute, func=None, task=run.task)
            raise
        if run.envelope.undecided_options:
            run.envelope = run.envelope.decided_for(func)
        args, kwargs = run.envelope.args, run.envelope.kwargs
        if pre_execute.receivers:
            announce(pre_execute, func=func, task=run.task)
            args, kwargs = run.task["args"], run.task["kwargs"]
        value = func(*args, **kwargs)
        if not is_awaitable(value):
            return value
        return self._wait_for(value) if run.awaits else refuse(value)

    def _find(self, func: Function | str) -> Function:
        """The function. Raises TaskNotFound."""
        if not isinstance(func, str):
            if callable(func):
                return find_function(func)
            raise TaskNotFound(f"{print_safely(func)} is not a function.")
        if func not in self._functions:
            try:
                self._functions[func] = find_function(func)
            except TaskNotAllowed:
                raise
            except TaskNotFound as error:
                advice = explain_missing(func, self._born)
                raise TaskNotFound(str(error), hint=advice) from error.__cause__
        return self._functions[func]

    def _wait_for(self, awaitable: Any) -> Any:
        if self._owns_process:
            return self._event_loop.run(awaitable)
        return run_inline(awaitable)

    # -- what came of it

    def _outcome_of(self, run: Run, **ending: Any) -> Outcome:
        return Outcome(
            envelope=run.envelope,
            stopped=clock.now(),
            ran=monotonic() - run.began,
            attempt=run.attempt,
            **ending,
        )

    def _failure(self, error: BaseException) -> dict[str, Any]:
        """What an outcome says of an error. Called where it is caught."""
        if self._reporter is not None:
            self._reporter.report()
        # Its `__class__` may be code of the task: isinstance() would ask that.
        is_late = issubclass(type(error), TimeoutException)
        return {
            "success": False,
            "result": describe(error),
            "cause": Cause.TIMED_OUT if is_late else Cause.RAISED,
            "error": error,
            "summary": summarise(error),
        }

    def _announce_end(self, outcome: Outcome, run: Run) -> Outcome:
        """Tell the receivers; keys that any receiver added stay with the task."""
        task = run.task
        ended = outcome.ending()
        task.update(ended)
        try:
            announce(post_execute_in_worker, func=run.func, task=task)
        except BaseException:  # noqa: BLE001 - a receiver may raise anything
            text = "a receiver of post_execute_in_worker failed on [%s]"
            logger.exception(text, clean(outcome.envelope.name))
        known = KNOWN_KEYS.union(ended)
        extra = {key: value for key, value in task.items() if key not in known}
        if extra == outcome.envelope.extra:
            return outcome
        return outcome._replace(envelope=replace(outcome.envelope, extra=extra))
