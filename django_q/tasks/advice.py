"""Advice: what is wrong with a call of async_task, and what to do about it."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Iterator, Mapping
from typing import Any, Final

from django.db.models import Model

from django_q.callables import resolve
from django_q.envelope import Envelope
from django_q.exceptions import (
    TaskError,
    TaskNotFound,
    TaskNotImportable,
    TaskNotSerializable,
)
from django_q.logs import clean, logger, print_safely
from django_q.task_options import CALL_OPTIONS, TASK_OPTIONS, YIELDING

DEEPEST: Final = 8
"""Steps into an argument that the search for what can't be pickled takes."""

SOMETHING_SIMPLE: Final = "Pass something simple instead, for example an id."
IN_COROUTINE: Final = (
    "async_task() was called from a coroutine and would block it."
    " Use: await aasync_task(…)"
)


class Adviser:
    """Says in the log of a project in DEBUG what will probably go wrong, once each."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def consider(self, envelope: Envelope, keywords: Mapping[str, Any]) -> None:
        """Look at a call; `keywords` as async_task got them."""
        for advice in (
            *_advise_options(envelope, keywords),
            *_advise_function(envelope),
            *_advise_models(envelope),
        ):
            self.say(advice)

    def say(self, advice: str) -> None:
        """Log a warning, unless it was said before."""
        if advice not in self._said:
            self._said.add(advice)
            logger.warning("%s", clean(advice, 500))


def warn_of_main(envelope: Envelope) -> None:
    """Earlier releases took functions of the script that runs, so they are queued."""
    module = getattr(envelope.func, "__module__", None)
    if module == "__main__" and not isinstance(envelope.func, str):
        text = "%s can't be imported by a worker. Move it to a module of its own."
        logger.warning(text, clean(_path_of(envelope.func)))


def explain_unsendable(envelope: Envelope, error: BaseException) -> TaskError:
    """The error for a task that can't be pickled; it names what can't."""
    if not _can_pickle(envelope.func):
        message = f"{_path_of(envelope.func)} can't be imported by a worker."
        hint = "Move it to the top level of a module."
        return TaskNotImportable(message, hint=hint)
    for title, place, value in _parts_of(envelope):
        if not _can_pickle(value):
            culprit, found = _search(place, value)
            what = f"{culprit} is {_kind_of(found)}, which can't be pickled."
            message = f"{title} of {envelope.func_name} can't be sent: {what}"
            return TaskNotSerializable(message, hint=SOMETHING_SIMPLE)
    reason = print_safely(error).rstrip(".")
    message = f"{envelope.func_name} can't be sent: {reason}."
    return TaskNotSerializable(message, hint=SOMETHING_SIMPLE)


# -- what can't be pickled


def _parts_of(envelope: Envelope) -> Iterator[tuple[str, str, Any]]:
    """What a package carries: how to call it, where it is, and itself."""
    for index, value in enumerate(envelope.args):
        yield f"Argument {index + 1}", f"args[{index}]", value
    for key, value in envelope.kwargs.items():
        yield f"Argument {key!r}", f"kwargs[{key!r}]", value
    for key, value in envelope.as_dict().items():
        if key not in ("args", "kwargs"):
            yield f"Option {key!r}", key, value


def _search(place: str, value: Any) -> tuple[str, Any]:
    """The innermost part of a value that can't be pickled, and where it is."""
    for _step in range(DEEPEST):
        inner = [part for part in _inside(place, value) if not _can_pickle(part[1])]
        if not inner:
            break
        place, value = inner[0]
    return place, value


def _inside(place: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        yield from ((f"{place}[{key!r}]", inner) for key, inner in value.items())
    elif isinstance(value, list | tuple):
        yield from ((f"{place}[{i}]", inner) for i, inner in enumerate(value))
    elif isinstance(value, set | frozenset):
        yield from ((f"a member of {place}", inner) for inner in value)
    else:
        state = getattr(value, "__dict__", {})
        yield from ((f"{place}.{name}", inner) for name, inner in dict(state).items())


def _can_pickle(value: Any) -> bool:
    try:
        pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    except BaseException:  # noqa: BLE001 - foreign code pickles itself
        return False
    return True


def _kind_of(value: Any) -> str:
    """`a _thread.lock`, `an io.BytesIO`, `the function shop.views.<lambda>`."""
    if inspect.isroutine(value):
        return f"the function {_path_of(value)}"
    kind = type(value)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    name = f"{module}{kind.__qualname__}"
    return f"an {name}" if name[0] in "aeiouAEIOU" else f"a {name}"


def _path_of(func: Any) -> str:
    name = getattr(func, "__qualname__", None) or type(func).__qualname__
    return f"{getattr(func, '__module__', None) or type(func).__module__}.{name}"


# -- what will probably go wrong


def _advise_options(envelope: Envelope, keywords: Mapping[str, Any]) -> Iterator[str]:
    """q_options beat keywords, and drop what they don't know."""
    chosen = keywords.get("q_options") or {}
    func = envelope.func_name
    known = TASK_OPTIONS | CALL_OPTIONS
    for key in sorted(chosen.keys() - known):
        yield f"{func}: q_options has no option {key!r}. It is ignored."
    for key in sorted(chosen.keys() & keywords.keys() & TASK_OPTIONS):
        yield (
            f"{func}: {key!r} is in q_options and among the keywords. The option is"
            f" taken from q_options, and {key!r} goes to the function."
        )


def _advise_function(envelope: Envelope) -> Iterator[str]:
    """A path that leads nowhere, or arguments that the function won't take."""
    func: Any = envelope.func
    try:
        found = resolve(func) if isinstance(func, str) else func
        signature = inspect.signature(found)
    except TaskNotFound as error:
        yield str(error)
        return
    except (TypeError, ValueError):
        # Functions written in C often don't tell what they take.
        return
    for key in sorted(envelope.kwargs.keys() & YIELDING - signature.parameters.keys()):
        yield (
            f"{envelope.func_name} takes any keyword, so {key!r} goes to it. The option"
            f" is q_options={{{key!r}: …}}."
        )
    try:
        signature.bind(*envelope.args, **envelope.kwargs)
    except TypeError as error:
        given = len(envelope.args) + len(envelope.kwargs)
        takes = f"{envelope.func_name}{signature}"
        yield f"{takes} was given {given} arguments, which won't do: {error}."


def _advise_models(envelope: Envelope) -> Iterator[str]:
    for value in (*envelope.args, *envelope.kwargs.values()):
        if isinstance(value, Model):
            kind = type(value).__name__
            yield (
                f"{envelope.func_name} gets a whole {kind} (pk {value.pk}). The worker"
                " will see it as it is now, not as it is then. Pass its pk."
            )
