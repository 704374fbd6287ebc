"""Encoding: an outcome becomes a record, column by column, whatever is in it."""

from __future__ import annotations

import os
import pickle
import socket
from binascii import b2a_base64
from typing import Any, Final

from django_q import clock
from django_q.envelope import Envelope
from django_q.exceptions import PackageTooLarge, UnsendableResult
from django_q.logs import clean, logger, print_safely
from django_q.options import Options
from django_q.outcome import Cause, Outcome
from django_q.results.record import Record
from django_q.retrying import (
    attempts_allowed,
    pause_before_retry,
    repeats_for_ever,
)

ID_SIZE: Final = 32
NAME_SIZE: Final = 100
FUNC_SIZE: Final = 256
"""Characters that the columns of the table hold."""

ERROR_SIZE: Final = 10_000
"""Characters that are kept of the error of one attempt."""

LARGE_RESULT: Final = 10 * 1024 * 1024
"""Bytes; above, the log tells: other results wait while such a one is saved."""

LONGEST_REPR: Final = 2000

NOTHING: Final = ""
"""Stands for what is not encoded because no row will hold it."""


def make_record(outcome: Outcome, options: Options) -> tuple[Outcome, Record]:
    """The record of an outcome, and the outcome as it is recorded. Never raises.

    A result that can't be stored makes a failure of a success, one that says so.
    """
    encoded = args = kwargs = NOTHING
    wanted = is_wanted(outcome, options)
    if wanted:
        outcome, encoded = encode_result(outcome, options)
    envelope, more = outcome.envelope, _beside_success(outcome, options)
    keep = wanted and _is_kept(envelope, more)
    if keep:
        args, kwargs = _arguments(envelope, options)
    hook, group, cluster = envelope.hook_name, envelope.group, envelope.cluster
    record = Record(
        column_text(envelope.id, ID_SIZE),
        column_text(envelope.name, NAME_SIZE),
        column_text(envelope.func_name, FUNC_SIZE),
        None if hook is None else column_text(hook, FUNC_SIZE),
        args,
        kwargs,
        encoded if keep else NOTHING,
        None if group is None else column_text(group, NAME_SIZE),
        None if cluster is None else column_text(cluster, NAME_SIZE),
        envelope.started.isoformat(),
        outcome.stopped.isoformat(),
        outcome.success,
        outcome.attempt,
        keep=keep,
        ran=outcome.ran,
        waited=_waited(outcome),
        **more,
    )
    is_last = record.pause is None
    if is_last and envelope.chain and (link := next_package(outcome, options)):
        record = record._replace(**link)
    return outcome, record


def _beside_success(outcome: Outcome, options: Options) -> dict[str, Any]:
    """What a record says of any outcome but a success at the first attempt."""
    if outcome.success:
        return {} if outcome.attempt == 1 else _note(outcome)
    return {
        "pause": pause_before_retry(outcome, options),
        "attempts_allowed": _attempts(outcome, options),
        "cause": str(outcome.cause),
        "summary": column_text(outcome.summary, FUNC_SIZE),
        **_note(outcome),
    }


def _is_kept(envelope: Envelope, ending: dict[str, Any]) -> bool:
    """Whether what is wanted gets a row: no cached result, nor a retry to come, but for
    those without an end.
    """
    if envelope.cached:
        return False
    return ending.get("pause") is None or not ending["attempts_allowed"]


def repeated_record(envelope: Envelope, options: Options) -> Record:
    """The record of a task that had succeeded before: no row, but its chain goes on."""
    outcome = Outcome(envelope=envelope, success=True, result=None, stopped=clock.now())
    _, record = make_record(outcome, options)
    return record._replace(
        keep=False,
        cause="repeated",
        args=NOTHING,
        kwargs=NOTHING,
        result=NOTHING,
    )


def keep_in_row(outcome: Outcome, record: Record, options: Options) -> Record:
    """The record of an outcome that was to be cached, but can't be."""
    args, kwargs = _arguments(outcome.envelope, options)
    result = encode(outcome.result)
    return record._replace(keep=True, args=args, kwargs=kwargs, result=result)


def is_wanted(outcome: Outcome, options: Options) -> bool:
    """Whether anybody will ever read this result."""
    envelope = outcome.envelope
    if envelope.cached or not outcome.success:
        return True
    return options.keeps_successes if envelope.save is None else bool(envelope.save)


# -- arguments and results


def encode_result(outcome: Outcome, options: Options) -> tuple[Outcome, str]:
    """The result as the table holds it; a failure instead if that can't be."""
    try:
        encoded = encode(outcome.result)
    except BaseException as error:  # noqa: BLE001 - foreign code pickles itself
        reason = f"{type(error).__name__}: {print_safely(error)}"
        return _unsendable(outcome, UnsendableResult, reason)
    limit = options.max_result_size
    if len(encoded) > limit:
        size = f"it needs {len(encoded):,} bytes, the limit is {limit:,}"
        return _unsendable(outcome, PackageTooLarge, size)
    if len(encoded) > LARGE_RESULT:
        who = clean(outcome.envelope.func_name), clean(outcome.envelope.name)
        text = "the result of %s [%s] has %s bytes; others wait while it is saved"
        logger.warning(text, *who, f"{len(encoded):,}")
    return outcome, encoded


def _unsendable(
    outcome: Outcome, kind: type[UnsendableResult | PackageTooLarge], reason: str
) -> tuple[Outcome, str]:
    advice = "Return something simple, for example an id."
    if kind is PackageTooLarge:
        advice = "Return a file name or an id, or raise Q_CLUSTER['max_result_size']."
    func = outcome.envelope.func_name
    text = f"The result of {func} can't be stored: {reason}. {advice}"
    logger.error("%s [%s]", clean(text, 400), clean(outcome.envelope.name))
    failed = outcome._replace(
        success=False,
        result=text,
        cause=Cause.RAISED if outcome.success else outcome.cause,
        summary=clean(f"{kind.__name__}: {reason}"),
    )
    return failed, encode(text)


def encode(value: Any) -> str:
    """A value as PickledObjectField stores it. Raises what pickling raises."""
    data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    return b2a_base64(data, newline=False).decode("ascii")


def _arguments(envelope: Envelope, options: Options) -> tuple[str, str]:
    """The columns of the arguments. All that came in a package fits, whose bytes become
    a third more here: else a task would be resubmitted with other arguments.
    """
    room = max(options.max_result_size, 2 * options.max_package_size)
    args, kwargs = envelope.args, envelope.kwargs
    return encode_arguments(args, room), encode_arguments(kwargs, room)


def encode_arguments(arguments: tuple[Any, ...] | dict[str, Any], limit: int) -> str:
    """Arguments for their column, in so many characters; what can't be encoded, or needs
    more than its share, is shown as text.

    They came in a package, but the task may have put anything into a list it was given.
    """
    if not arguments:
        return EMPTY[type(arguments)]
    if (encoded := _encoded(arguments, limit)) is not None:
        return encoded
    share = limit // len(arguments)
    if isinstance(arguments, dict):
        return encode({str(k): _portable(v, share) for k, v in arguments.items()})
    return encode(tuple(_portable(value, share) for value in arguments))


EMPTY: Final[dict[type, str]] = {tuple: encode(()), dict: encode({})}
"""Most tasks have no keyword arguments."""


def _portable(value: Any, limit: int) -> Any:
    if _encoded(value, limit) is None:
        return print_safely(value, repr)[:LONGEST_REPR]
    return value


def _encoded(value: Any, limit: int) -> str | None:
    """None for what can't be encoded in so many characters."""
    try:
        encoded = encode(value)
    except BaseException:  # noqa: BLE001 - foreign code pickles itself
        return None
    return encoded if len(encoded) <= limit else None


# -- text columns


def column_text(text: object, size: int) -> str:
    """Text that every database takes: no NUL, no half characters, not too long."""
    if type(text) is str and text.isascii() and "\0" not in text:
        # As most are; the rest would leave it as it is.
        return text[:size]
    shown = text if isinstance(text, str) else print_safely(text)
    shown = shown.encode("utf-8", "backslashreplace").decode("utf-8")
    return shown.replace("\0", "\\x00")[:size]


def _note(outcome: Outcome) -> dict[str, Any]:
    """What the attempt's own row says, if it is to have one."""
    if outcome.envelope.cached:
        return {}
    is_lost = outcome.cause is Cause.LOST
    worker = "" if is_lost else f"{socket.gethostname()}:{os.getpid()}"
    error = "" if outcome.success else column_text(outcome.result, ERROR_SIZE)
    return {"noted": True, "worker": column_text(worker, NAME_SIZE), "error": error}


def _waited(outcome: Outcome) -> float:
    """Seconds from async_task to the start of this run."""
    past = outcome.stopped - outcome.envelope.started
    return max(0.0, past.total_seconds() - outcome.ran)


# -- what follows


def _attempts(outcome: Outcome, options: Options) -> int:
    """How many runs it may have in all; 0: any number."""
    if repeats_for_ever(outcome.envelope, options):
        return 0
    return int(attempts_allowed(outcome.envelope, options))


def next_package(outcome: Outcome, options: Options) -> dict[str, Any] | None:
    """The next link of the chain: sealed, with its id and its queue.

    None when there is none, when the chain stops here, or when a receiver of
    pre_enqueue or the size of the package forbids the rest; the log says so.
    """
    envelope = outcome.envelope
    if not (outcome.success or envelope.stop_on_failure is False):
        return None
    try:
        link = envelope.next_link()
        return None if link is None else _seal_link(link, options)
    except Exception as error:  # noqa: BLE001 - a receiver may raise anything
        name, reason = clean(envelope.name), f"{type(error).__name__}: {clean(error)}"
        logger.exception("the chain ends after [%s]: %s", name, reason)
        return None


def _seal_link(link: Envelope, options: Options) -> dict[str, Any]:
    link = link.with_defaults(options).announced()
    queue = link.cluster or options.queue
    texts: tuple[object, ...] = link.id, queue
    if not all(isinstance(text, str) for text in texts):
        # A receiver may have put anything there.
        raise TypeError(f"The id and the cluster of a task are text, not {texts!r}.")
    # Slices are plain text, also of Django's SafeString, whose str() is itself.
    return {"link": link.seal(), "link_id": link.id[:], "link_queue": queue[:]}
