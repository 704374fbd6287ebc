"""Hooks: what happens once the end of a task is saved."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from django.db import connections, router
from django.db.models.signals import post_save

from django_q.logs import clean, logger, print_safely
from django_q.models import Task, call_hook
from django_q.options import Options
from django_q.outcome import Outcome
from django_q.results.conclusion import forget_parts
from django_q.results.encoding import is_wanted
from django_q.signals import announce, post_execute

SENDERS: Final = id(Task), id(None)
OURS: Final = id(call_hook)
"""These, as Django's signals know them."""

Deed = Callable[[], object]
Within = Callable[[Deed], object]


def call_at_once(deed: Deed) -> object:
    """Call something without any limit."""
    return deed()


def needs_finish(outcome: Outcome, *, is_last: bool = True) -> bool:
    """Whether `finish` would do anything for this outcome."""
    if post_execute.receivers or not is_last:
        return bool(post_execute.receivers)
    return bool(outcome.envelope.hook or outcome.last_part is not None or _is_watched())


def finish(
    outcome: Outcome,
    options: Options,
    *,
    within: Within = call_at_once,
    list_key: str | None = None,
    is_last: bool = True,
) -> None:
    """Announce post_execute, and after the task's last run call the hook before that.

    Once for each run, when its end was saved. `within` calls what it is given, within a
    time limit. What is raised, also by the limit or as SystemExit, is logged and ends
    nothing else.
    """
    if is_last:
        if outcome.last_part is not None:
            _announce(outcome.last_part, within)
            deed = partial(forget_parts, outcome.last_part, options, list_key)
            _do("the parts of an iterable were not deleted", within, deed)
        run_hook(outcome, options, within=within)
    _announce(outcome, within)
    if not outcome.envelope.sync:
        _do("database connections did not close", call_at_once, _close_stale)


def run_hook(
    outcome: Outcome, options: Options, *, within: Within = call_at_once
) -> None:
    """Call the hook of an outcome that was saved. What it raises is logged."""
    envelope = outcome.envelope
    if envelope.hook or (_is_watched() and _has_row(outcome, options)):
        what = f"return hook {clean(envelope.hook_name)}"
        _do(f"{what} failed on [{clean(envelope.name)}]", within, lambda: show(outcome))


def show(outcome: Outcome) -> None:
    """Send Django's post_save for the saved row, which calls the hook.

    Through the signal, so that whoever disconnected `call_hook` keeps it disconnected,
    and whoever else listens to Task hears of it.
    """
    post_save.send(
        sender=Task,
        instance=row_of(outcome),
        created=outcome.attempt == 1,
        update_fields=None,
        raw=False,
        using=router.db_for_write(Task),
    )


def row_of(outcome: Outcome) -> Task:
    """The row of an outcome, as if it had been read from the table."""
    envelope = outcome.envelope
    task = Task(
        id=envelope.id,
        name=envelope.name,
        func=envelope.func_name,
        # A callable works as well, as long as the row is not read from its table.
        hook=envelope.hook,  # type: ignore[misc]
        args=envelope.args,
        kwargs=envelope.kwargs,
        started=envelope.started,
        stopped=outcome.stopped,
        result=outcome.result,
        group=envelope.group,
        cluster=envelope.cluster,
        success=outcome.success,
        attempt_count=outcome.attempt,
    )
    task._state.adding = False  # noqa: SLF001 - Django's documented way to say so
    task._state.db = router.db_for_write(Task)  # noqa: SLF001
    return task


def _announce(outcome: Outcome, within: Within) -> None:
    if not post_execute.receivers:
        return
    task = outcome.as_dict()
    task.pop("ack_id", None)
    name = clean(outcome.envelope.name)
    what = f"a receiver of post_execute failed on [{name}]"
    _do(what, within, lambda: announce(post_execute, task=task))


def _do(what: str, within: Within, deed: Deed) -> None:
    try:
        within(deed)
    except BaseException as error:  # noqa: BLE001 - users' code, which may raise anything
        reason = f"{type(error).__name__}: {print_safely(error)}"
        logger.error("%s because %s", what, clean(reason), exc_info=True)


def _close_stale() -> None:
    """As close_old_connections, which would end a caller's transaction as well."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()


def _has_row(outcome: Outcome, options: Options) -> bool:
    return not outcome.envelope.cached and is_wanted(outcome, options)


def _is_watched() -> bool:
    """Whether anybody but `call_hook` listens to the saving of tasks."""
    for entry in post_save.receivers:
        receiver, sender = entry[0]
        if sender in SENDERS and receiver != OURS:
            return True
    return False
