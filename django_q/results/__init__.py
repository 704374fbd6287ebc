"""Results: what came of tasks is encoded, saved, cached, looked up, told to hooks."""

from __future__ import annotations

from django_q.results.attempts import save_attempts, sweep_attempts
from django_q.results.cache import ResultCache
from django_q.results.conclusion import (
    conclude,
    conclude_again,
    forget_parts,
    open_cache,
)
from django_q.results.database import (
    has_succeeded,
    save,
    save_or_raise,
    unqueued,
    write_alias,
)
from django_q.results.encoding import (
    encode_result,
    keep_in_row,
    make_record,
)
from django_q.results.hooks import finish, needs_finish, run_hook
from django_q.results.parts import part_id
from django_q.results.pruning import Pruner, prune
from django_q.results.record import Record
from django_q.results.refusals import rejected_record, unloadable_record
from django_q.results.waiting import wait_for, wait_for_async

__all__ = [
    "Pruner",
    "Record",
    "ResultCache",
    "conclude",
    "conclude_again",
    "encode_result",
    "finish",
    "forget_parts",
    "has_succeeded",
    "keep_in_row",
    "make_record",
    "needs_finish",
    "open_cache",
    "part_id",
    "prune",
    "rejected_record",
    "run_hook",
    "save",
    "save_attempts",
    "save_or_raise",
    "sweep_attempts",
    "unloadable_record",
    "unqueued",
    "wait_for",
    "wait_for_async",
    "write_alias",
]
