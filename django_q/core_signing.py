"""Django's signing, at the place where the earlier releases had a copy of it."""

from __future__ import annotations

from django.core import signing
from django.core.signing import dumps, loads

__all__ = ["Signer", "TimestampSigner", "dumps", "loads"]


class Signer(signing.Signer):
    """Takes its arguments by position too, and without a salt has one of its own."""

    def __init__(
        self, key: str | None = None, sep: str = ":", salt: str | None = None
    ) -> None:
        super().__init__(key=key, sep=sep, salt=salt)


class TimestampSigner(Signer, signing.TimestampSigner):
    """The same, with the moment of the signing."""
