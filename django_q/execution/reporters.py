"""Error reporters: plug-ins that tell a service about failed tasks."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final, Protocol

from django_q.logs import clean, logger

GROUP: Final = "djangoq.errorreporters"
"""Entry points of this group, by the names in the setting `error_reporter`."""


class Reporter(Protocol):
    """What a plug-in offers."""

    def report(self) -> Any:
        """Called where `sys.exc_info()` tells what happened."""


class ErrorReporter:
    """All reporters that the settings name."""

    def __init__(self, targets: list[Reporter]) -> None:
        self.targets = targets

    def report(self) -> None:
        """Call inside an `except` block. One that fails does not silence the others."""
        for target in self.targets:
            try:
                target.report()
            except BaseException as error:  # noqa: BLE001 - a plug-in may raise anything
                name = type(target).__qualname__
                reason = f"{type(error).__name__}: {clean(error)}"
                logger.error("error reporter %s failed: %s", name, reason)


def load_reporters(settings: Mapping[str, Any]) -> ErrorReporter | None:
    """The reporters that `error_reporter` names; None when it names none that works.

    Names without an entry point are ignored; a reporter that can't be loaded is logged.
    """
    if not settings:
        return None
    # Half a MiB, of which a site without reporters has no use.
    points = import_module("importlib.metadata").entry_points(group=GROUP)
    known = {point.name: point for point in points}
    loaded = [_load(known[n], settings[n]) for n in settings if n in known]
    targets = [reporter for reporter in loaded if reporter is not None]
    return ErrorReporter(targets) if targets else None


def _load(point: Any, keywords: Mapping[str, Any] | None) -> Reporter | None:
    try:
        reporter: Reporter = point.load()(**(keywords or {}))
    except Exception:  # noqa: BLE001 - a plug-in may raise anything
        logger.exception("error reporter %r can't be loaded", point.name)
        return None
    return reporter
