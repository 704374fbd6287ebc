"""Conclusion: what an ended run leaves: a record, a cached result, a collated iterable."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from django_q.brokers.stats import find_cache
from django_q.envelope import Envelope
from django_q.logs import clean, logger
from django_q.options import Options
from django_q.outcome import Cause, Outcome
from django_q.results.cache import ResultCache
from django_q.results.database import has_gone_on
from django_q.results.encoding import keep_in_row, make_record, repeated_record
from django_q.results.record import Record

GONE: Final = (
    "The result of this part is gone from the cache. The cache may be too small, in"
    " entries (MAX_ENTRIES) or in bytes, or be cleared now and then."
)
"""Stands in the result of an iterable for what its cache has lost."""

NOT_KEPT: Final = (
    "The cache did not keep the result of this part. It may be too large for it."
)


def conclude(
    outcome: Outcome, options: Options, list_key: str | None = None
) -> tuple[Outcome, Record]:
    """The record to save, and the outcome to finish once it is saved. Never raises.

    A cached result is in the cache when this returns. The part of an iterable that
    ended last gives the record of the whole. `list_key`: the broker's, where it is not
    simply the queue.
    """
    outcome, record = make_record(outcome, options)
    is_last_run = record.pause is None or not record.attempts_allowed
    if not (outcome.envelope.cached and is_last_run):
        return outcome, record
    try:
        whole = _save_cached(outcome, options, list_key)
    except Exception as error:  # noqa: BLE001 - clients of caches raise what they like
        name, reason = clean(outcome.envelope.name), clean(error)
        text = "the result of [%s] can't be cached: %s. It goes into the database"
        logger.exception(text, name, reason)
        return outcome, keep_in_row(outcome, record, options)
    if whole is None:
        return outcome, record
    # The whole may be too large for the cache although none of its parts is.
    return conclude(whole, options, list_key)


def conclude_again(envelope: Envelope, options: Options) -> Record:
    """The record of a task that had succeeded before: its chain goes on, unless it has."""
    record = repeated_record(envelope, options)
    if has_gone_on(envelope, record.link_id):
        return record._replace(link=None, link_id=None, link_queue=None)
    return record


def open_cache(options: Options, list_key: str | None = None) -> ResultCache:
    """The cached results of a queue. Raises LookupError when there is no such cache."""
    cache = find_cache(options.cache)
    if cache is None:
        message = f"CACHES has no {options.cache!r}, which Q_CLUSTER['cache'] names."
        raise LookupError(message)
    return ResultCache(cache, list_key or options.queue)


def _save_cached(
    outcome: Outcome, options: Options, list_key: str | None
) -> Outcome | None:
    """Cache it. Gives the whole iterable, if this was its last part to end."""
    store = open_cache(options, list_key)
    if not outcome.envelope.iter_count:
        store.save(outcome)
        return None
    if not store.save_part(outcome):
        logger.error("part [%s]: %s", clean(outcome.envelope.name), NOT_KEPT)
        store.save_part(outcome._replace(success=False, result=NOT_KEPT))
    parts = store.parts_of(outcome.envelope)
    if not parts.is_collator():
        return None
    arguments = store.find_arguments(str(outcome.envelope.group))
    return collate(outcome, parts.read(), arguments)


def collate(
    last: Outcome,
    parts: Iterable[dict[str, Any] | None],
    arguments: list[Any] | None,
) -> Outcome:
    """All parts of an iterable as one task, which has the iterable's id.

    Its result is the list of theirs; failed ones contribute the text of their error.
    Its arguments are shown as they were given: as a list. It fails if a part is gone.
    """
    part = last.envelope
    results, taken, gone = [], [], 0
    for found in parts:
        results.append(found["result"] if found else GONE)
        gone += found is None
        if not arguments:
            taken.append(found["args"] if found else ())
    envelope = Envelope(
        id=str(part.group),
        name=part.name,
        func=part.func,
        args=arguments or taken,  # type: ignore[arg-type]
        kwargs=part.kwargs,
        started=part.started,
        hook=part.iter_hook,
        group=part.iter_group,
        cluster=part.cluster,
        cached=part.iter_cached,
        save=part.save,
        sync=part.sync,
        # Each part has been tried again as often as it may.
        max_attempts=1,
    )
    whole = last._replace(
        envelope=envelope, result=results, attempt=1, error=None, last_part=last
    )
    if not gone:
        return whole
    summary = f"{gone} of {len(results)} results are gone from the cache"
    logger.error("iterable [%s]: %s", clean(part.name), summary)
    return whole._replace(success=False, cause=Cause.RAISED, summary=summary)


def forget_parts(last: Outcome, options: Options, list_key: str | None) -> None:
    """Delete what a collated iterable no longer needs."""
    open_cache(options, list_key).parts_of(last.envelope).delete()
