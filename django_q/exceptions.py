"""One tree of errors; each message says what happened and what to do."""

from __future__ import annotations

import inspect

from django.core.exceptions import ImproperlyConfigured
from django.core.signing import BadSignature


class DjangoQError(Exception):
    """Something in django_q went wrong."""

    hint: str = ""
    """What the reader can do about it; part of the text when given."""

    def __init__(self, message: str = "", *, hint: str = "") -> None:
        self.hint = hint or self.hint
        text = message or (inspect.cleandoc(type(self).__doc__ or ""))
        super().__init__(f"{text} {self.hint}".strip())

    def __repr__(self) -> str:
        """Not that of a client's own error, which may be among the bases as well."""
        return f"{type(self).__name__}({str(self)!r})"


class ConfigurationError(DjangoQError, ImproperlyConfigured):
    """Q_CLUSTER is wrong. Run: python manage.py check"""


class BrokerError(DjangoQError):
    """The broker refused."""


class BrokerUnavailable(BrokerError, ConnectionError):
    """The broker can't be reached. Check that it runs: python manage.py qinfo"""


class UnknownReceipt(BrokerError):
    """The broker doesn't know this receipt: the lease ran out or was given back."""


class PackageLocked(BrokerError):
    """Another transaction has locked this package. Try again when it has ended."""


class PackageError(DjangoQError):
    """A package is not as it should be."""


class UnreadablePackage(PackageError, BadSignature):
    """A package was refused: it isn't signed by this site. Nothing was unpickled."""


class TaskError(DjangoQError):
    """A task can't be queued or run."""


class TaskNotFound(TaskError, ValueError):
    """The function of a task can't be imported."""


class TaskNotAllowed(TaskNotFound):
    """The setting `allowed_functions` does not cover this function."""


class TaskNotSerializable(TaskError, TypeError):
    """An argument can't be sent. Pass something simple instead, for example an id."""


class TaskNotImportable(TaskError, ValueError):
    """A worker can't import this function. Move it to the top level of a module."""


class PackageTooLarge(TaskError, ValueError):
    """The package is too large. Pass a file name or an id instead."""


class UnsendableResult(TaskError, TypeError):
    """The result can't be stored. Return something simple, for example an id."""


class NotAtomic(TaskError, ValueError):
    """This task can't be run in one transaction with its end."""


class ResultTimeout(TaskError, TimeoutError):
    """No result came in time."""


class NothingFollows(DjangoQError, ValueError):
    """A schedule has no run after this one."""


class TimeoutException(SystemExit):
    """Raised inside a task that has run past its limit.

    A SystemExit, so that `except Exception` inside the task does not swallow it. The
    earlier releases had it so.
    """
