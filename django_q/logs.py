"""The logger; a console handler only when a command asks for one."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Callable
from typing import Any, TextIO

LINE_FORMAT = "%(asctime)s [Q] %(levelname)s %(message)s"
TIME_FORMAT = "%H:%M:%S"
CONSOLE = "django-q console "

LONGEST_LINE = 1000
"""Characters of a line of a traceback: the message of an error may hold megabytes."""

logger = logging.getLogger("django-q")
logger.addHandler(logging.NullHandler())


class LineFormatter(logging.Formatter):
    """Prints tracebacks with what a terminal would act on made visible."""

    def formatException(self, ei: Any) -> str:  # noqa: N802 - its name in logging
        lines = super().formatException(ei).splitlines()
        return "\n".join(clean(line, LONGEST_LINE) for line in lines)


def attach_console(level: str | int, stream: TextIO | None = None) -> None:
    """Print the log on stderr, unless the project's LOGGING already handles it."""
    if _has_handler(logger):
        return
    handler = logging.StreamHandler(stream)
    handler.setFormatter(LineFormatter(LINE_FORMAT, TIME_FORMAT))
    handler.set_name(f"{CONSOLE}{level}")
    logger.addHandler(handler)
    logger.setLevel(_number_of(level))
    logger.propagate = False


def _number_of(level: str | int) -> int:
    """A level by its name or its number; INFO for what is neither."""
    text = str(level)
    if text.isdigit():
        return int(text)
    return logging.getLevelNamesMapping().get(text, logging.INFO)


def print_safely(thing: object, how: Callable[[object], str] = str) -> str:
    """`str()` or `repr()` of something foreign, or a text that says whose failed."""
    try:
        return how(thing)
    except BaseException:  # noqa: BLE001 - its own code runs, and may raise anything
        return f"<{type(thing).__module__}.{type(thing).__qualname__} without text>"


def clean(text: object, limit: int = 200) -> str:
    """Text that is safe in a log line, a title or a terminal.

    Line breaks, escape codes and bidirectional controls become visible escapes, and
    the text is cut to `limit` characters. Never raises, whatever `text` is.
    """
    shown = (text if type(text) is str else print_safely(text))[: limit + 1]
    if not (shown.isascii() and shown.isprintable()):
        shown = "".join(map(_visible, shown))
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def _visible(character: str) -> str:
    """The character, or its escape when a terminal would act on it."""
    if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}:
        return character.encode("unicode_escape").decode("ascii")
    return character


def _has_handler(candidate: logging.Logger) -> bool:
    """Whether anything but the library's own NullHandler would print its records."""
    current: logging.Logger | None = candidate
    while current is not None:
        if any(not isinstance(h, logging.NullHandler) for h in current.handlers):
            return True
        current = current.parent if current.propagate else None
    return False


def console_level() -> str | None:
    """The level with which attach_console was called; None if it attached nothing."""
    names = [handler.get_name() or "" for handler in logger.handlers]
    own = [name for name in names if name.startswith(CONSOLE)]
    return own[0].removeprefix(CONSOLE) if own else None
