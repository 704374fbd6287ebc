"""Advice: what to do about trouble on the way to a server, whichever it is."""

from __future__ import annotations

from typing import Final

from django_q.exceptions import ConfigurationError
from django_q.logs import clean

DATES: Final = ("not yet valid", "has expired")
REFUSED: Final = "certificate verify failed"


def about_certificate(reason: str) -> str:
    """What to do where a certificate was refused; nothing if none was.

    A clock that is wrong makes good certificates too old, or too new.
    """
    said = reason.lower()
    if any(words in said for words in DATES):
        return "Check the clock of this machine, then the certificate of the server."
    if REFUSED in said:
        return "Check the certificate of the server, and by which one it is judged."
    return ""


def check_text(queue: str) -> None:
    """Raises ConfigurationError for a name that can't be sent anywhere."""
    try:
        str(queue).encode()
    except UnicodeEncodeError:
        raise odd_name("Brokers", queue, "it is not whole text") from None


def odd_name(who: str, queue: str, reason: str) -> ConfigurationError:
    """Says that a broker can't have a queue of this name."""
    shown = clean(repr(queue), 90)
    message = f"{who} can't have a queue {shown}: {reason}."
    hint = "Give the cluster another name: Q_CLUSTER['cluster_name']."
    return ConfigurationError(message, hint=hint)
