"""SignedPackage: an object becomes signed, optionally compressed text, and back.

The text is that of django.core.signing, salted with the site's name.
"""

from __future__ import annotations

import copyreg
import hashlib
import hmac
import pickle
import zlib
from binascii import a2b_base64, b2a_base64
from collections.abc import Sequence
from datetime import UTC, timezone, tzinfo
from functools import lru_cache
from io import BytesIO
from time import time_ns
from typing import Any, Final
from zoneinfo import ZoneInfo

from django.conf import settings
from django.core.signing import BadSignature, b62_encode
from django.utils.encoding import force_bytes

from django_q.conf import get_options, secret_key
from django_q.exceptions import ConfigurationError, PackageTooLarge, UnreadablePackage

__all__ = ["BadSignature", "PickleSerializer", "SignedPackage"]

FROM_URL: Final = bytes.maketrans(b"-_", b"+/")
TO_URL: Final = bytes.maketrans(b"+/", b"-_")
"""The letters of base64 that are others in a URL, there and back."""

UTC_REDUCED: Final = UTC.__reduce__()
SEP: Final = b":"
SECOND: Final = 10**9
"""In nanoseconds."""

SMALL: Final = 4096
"""Bytes of an object up to which its pickler is used for the next one as well: what it
remembers of an object is cleared slot by slot.
"""


class PickleSerializer:
    """Pickle at the highest protocol, as the wire format wants it."""

    @staticmethod
    def dumps(obj: Any) -> bytes:
        """As pickle.dumps makes it, to the byte."""
        return _Pickling().dumps(obj)

    @staticmethod
    def loads(data: bytes) -> Any:
        """Only ever called with bytes whose signature was checked."""
        try:
            return pickle.loads(data)  # noqa: S301
        except Exception:
            if not any(module.encode() in data for module, _ in _OLDER_ZONES):
                raise
            return _OlderDates(BytesIO(data)).load()


class _Pickling:
    """Pickles one object after the other, each as if it were the only one."""

    def __init__(self) -> None:
        self._kept: _Kept | None = None
        """For the next object."""

    def dumps(self, obj: Any) -> bytes:
        """As PickleSerializer.dumps."""
        # An object may sign another one meanwhile, or can't be pickled.
        kept, self._kept = self._kept, None
        if kept is None or kept.reducers != copyreg.dispatch_table:
            kept = _Kept()
        kept.pickler.dump(obj)
        data = kept.buffer.getvalue()
        if len(data) <= SMALL:
            # What was pickled is nobody's any more but the caller's.
            kept.pickler.clear_memo()
            kept.buffer.seek(0)
            kept.buffer.truncate()
            self._kept = kept
        return data


class _Kept:
    """A pickler, what it writes to, and the reducers that it knows."""

    def __init__(self) -> None:
        self.buffer = BytesIO()
        self.reducers = dict(copyreg.dispatch_table)
        self.pickler = pickle.Pickler(self.buffer, pickle.HIGHEST_PROTOCOL)
        self.pickler.dispatch_table = {timezone: _reduced, **self.reducers}


class _OlderDates(pickle.Unpickler):
    """Reads dates of Django 3 and older, which had no time zones of Python's own.

    Every task that was queued there has one: the moment when it was queued.
    """

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _OLDER_ZONES:
            return _zone
        return super().find_class(module, name)


_OLDER_ZONES: Final = (
    ("pytz", "_UTC"),
    ("pytz", "_p"),
    ("django.utils.timezone", "UTC"),
)


def _reduced(zone: timezone) -> Any:
    """What pickle makes of it by itself. It asks the class for its slots each time, for
    the one zone that is in all packages; that takes a third of all pickling.
    """
    return UTC_REDUCED if zone is UTC else zone.__reduce__()


def _zone(name: str | None = None, *_offset: object) -> tzinfo:
    """A zone by what was pickled of it: nothing for UTC, else its name first."""
    return ZoneInfo(name) if name else UTC


class SignedPackage:
    """Objects in, signed text out; the signature is checked before anything is read."""

    @staticmethod
    def dumps(obj: Any, compressed: bool | None = None) -> str:
        """Sign an object. `compressed`: None takes the setting `compress`.

        Raises PackageTooLarge above `max_package_size`, and what pickle raises for an
        object that can't be pickled.
        """
        return Sealer(compressed).dumps(obj)

    @staticmethod
    def loads(package: str | bytes) -> Any:
        """The object in a package.

        Raises UnreadablePackage (a BadSignature) before anything is unpickled when the
        signature is neither of SECRET_KEY nor of SECRET_KEY_FALLBACKS, or it is too
        large; then whatever unpickling raises.
        """
        return Opener().loads(package)

    @staticmethod
    def verify(package: str | bytes) -> bytes:
        """The pickled bytes in a package whose signature is right. Unpickles nothing.

        Raises UnreadablePackage.
        """
        return Opener().verify(package)


class Sealer:
    """Signs objects with the settings of the moment when it was made, as Opener opens
    packages.
    """

    def __init__(self, compressed: bool | None = None) -> None:
        self._options = options = get_options()
        self._key = secret_key()
        self._compresses = options.compress if compressed is None else compressed
        self._limit = options.max_package_size
        self._signer = _signer(options.name)
        self._pickling = _Pickling()

    @property
    def is_current(self) -> bool:
        """Whether settings and key are still those of that moment."""
        return self._options is get_options() and self._key == secret_key()

    def dumps(self, obj: Any) -> str:
        """As SignedPackage.dumps."""
        body = _pack(self._pickling.dumps(obj), self._compresses)
        packed = self._signer.sign(body)
        if len(packed) > self._limit:
            raise _oversize(len(packed), self._limit)
        return packed


class Opener:
    """Opens packages with the keys of the moment when it was made: to look for them takes
    as long as to check a signature, and many packages come at once.
    """

    def __init__(self) -> None:
        options = get_options()
        self._limit = options.max_package_size
        self._signer = _signer(options.name)

    def loads(self, package: str | bytes) -> Any:
        """As SignedPackage.loads."""
        return PickleSerializer.loads(self.verify(package))

    def verify(self, package: str | bytes) -> bytes:
        """As SignedPackage.verify."""
        if len(package) > self._limit:
            raise _too_large(len(package), self._limit)
        try:
            body = self._signer.open(package)
        except BadSignature:
            raise UnreadablePackage from None
        return _unpack(body, self._limit)


class _Signer:
    """TimestampSigner of Django, but what depends on a key alone is worked out once."""

    def __init__(self, salt: str, keys: Sequence[str]) -> None:
        self._salt = salt
        self._keys = keys
        """What is signed is signed with the first."""

        self._keyed: dict[str, hmac.HMAC] = {}

    def sign(self, body: bytes) -> str:
        """The text with this moment and its signature."""
        value = b"%b:%b" % (body, _moment(time_ns() // SECOND))
        return (b"%b:%b" % (value, self._sign(value, self._keys[0]))).decode()

    def open(self, signed: str | bytes) -> bytes:
        """What was signed, without its moment, of whatever age. Raises BadSignature."""
        if isinstance(signed, str):
            # Half characters are in no text of ours, and to meet them is no error here.
            signed = signed.encode("utf-8", "surrogatepass")
        value, _, signature = bytes(signed).rpartition(SEP)
        for key in self._keys:
            if hmac.compare_digest(signature, self._sign(value, key)):
                return value.rpartition(SEP)[0]
        raise BadSignature

    def _sign(self, data: bytes, key: str) -> bytes:
        if key not in self._keyed:
            text = force_bytes(self._salt) + b"signer" + force_bytes(key)
            derived = hashlib.sha256(text).digest()
            self._keyed[key] = hmac.new(derived, digestmod="sha256")
        made = self._keyed[key].copy()
        made.update(data)
        return _encode(made.digest())


def _signer(salt: str) -> _Signer:
    return _make_signer(require_key(), salt, tuple(settings.SECRET_KEY_FALLBACKS))


@lru_cache(maxsize=8)
def _make_signer(key: str, salt: str, fallbacks: tuple[str, ...]) -> _Signer:
    # An empty one, as `"".split(",")` has it, is a key that everybody knows.
    return _Signer(salt, [key, *filter(None, fallbacks)])


@lru_cache(maxsize=1)
def _moment(second: int) -> bytes:
    return b62_encode(second).encode()


def require_key() -> str:
    """The key that packages are signed with. Raises ConfigurationError without one."""
    key = secret_key()
    if not key:
        message = "SECRET_KEY is empty: task packages can't be signed."
        raise ConfigurationError(message, hint="Set a long random SECRET_KEY.")
    return key


def _pack(data: bytes, compress: bool) -> bytes:
    """In base64, compressed where that is wanted and makes it shorter."""
    if compress:
        compressed = zlib.compress(data)
        if len(compressed) < len(data) - 1:
            return b"." + _encode(compressed)
    return _encode(data)


def _unpack(body: bytes, limit: int) -> bytes:
    """Undo base64 and compression, never making more than `limit` bytes."""
    try:
        if not body.startswith(b"."):
            return _decode(body)
        data = _decode(body.lstrip(b"."))
        inflater = zlib.decompressobj()
        data = inflater.decompress(data, limit)
    except (ValueError, zlib.error):
        raise UnreadablePackage from None
    if inflater.unconsumed_tail:
        raise _too_large(limit + 1, limit)
    if not inflater.eof:
        raise UnreadablePackage
    return data


def _encode(data: bytes) -> bytes:
    """As django.core.signing.b64_encode, with fewer steps."""
    return b2a_base64(data, newline=False).rstrip(b"=").translate(TO_URL)


def _decode(text: bytes) -> bytes:
    """As django.core.signing.b64_decode, with fewer steps. Raises ValueError."""
    return a2b_base64(text.translate(FROM_URL) + b"==")


def _too_large(size: int, limit: int) -> UnreadablePackage:
    message = f"A package was refused: it has {size:,} bytes or more, the limit is"
    return UnreadablePackage(f"{message} {limit:,} (setting 'max_package_size').")


def _oversize(size: int, limit: int) -> PackageTooLarge:
    message = f"The package needs {size:,} bytes; the limit is {limit:,}."
    hint = "Pass a file name or an id, or raise Q_CLUSTER['max_package_size']."
    return PackageTooLarge(message, hint=hint)
