"""Packages: signed, checked before anything in them is read, bounded both ways."""

from __future__ import annotations

import copyreg
import pickle
import weakref
import zlib
from datetime import UTC, datetime, timedelta, timezone
from threading import Lock
from typing import Any
from unittest.mock import patch
from zoneinfo import ZoneInfo

import pytest
from django.core import signing
from django.core.exceptions import ImproperlyConfigured

from django_q.conf import Conf
from django_q.exceptions import PackageTooLarge, UnreadablePackage
from django_q.signing import (
    BadSignature,
    Opener,
    PickleSerializer,
    Sealer,
    SignedPackage,
    _Pickling,
)


class Bomb:
    """Ends the test if it is ever unpickled."""

    def __reduce__(self) -> Any:
        return pytest.fail, ("unpickled",)


class Harmless:
    """Knows so many letters."""

    def __init__(self, size: int) -> None:
        self.letters = "a" * size


def test_what_goes_in_comes_out() -> None:
    thing = {"id": 1, "deep": [(None, 2.5), {"ü", "\0"}]}
    assert SignedPackage.loads(SignedPackage.dumps(thing)) == thing
    assert SignedPackage.loads(SignedPackage.dumps(thing).encode()) == thing


def test_the_wire_is_djangos_signed_pickle_with_the_sites_name_as_salt() -> None:
    package = SignedPackage.dumps({"a": 1})
    assert signing.loads(package, salt="tests", serializer=PickleSerializer) == {"a": 1}
    theirs = signing.dumps({"b": 2}, salt="tests", serializer=PickleSerializer)
    assert SignedPackage.loads(theirs) == {"b": 2}


@pytest.mark.parametrize("compress", [True, False])
def test_the_wire_is_djangos_to_the_letter(compress: bool) -> None:
    for thing in ({"a": 1}, "x" * 1000):
        theirs = signing.dumps(
            thing, salt="tests", serializer=PickleSerializer, compress=compress
        )
        moment = signing.b62_decode(theirs.split(":")[1])
        with patch("django_q.signing.time_ns", return_value=moment * 10**9 + 1):
            assert SignedPackage.dumps(thing, compressed=compress) == theirs


class Registered:
    """Pickled as copyreg says, which a project may use for classes of others."""


def utc() -> timezone:
    return UTC


@pytest.mark.parametrize(
    "registered",
    [{}, {Registered: lambda _: (Registered, ()), timezone: lambda _: (utc, ())}],
)
def test_what_is_pickled_is_what_pickle_makes_of_it(
    monkeypatch: pytest.MonkeyPatch, registered: dict[type, Any]
) -> None:
    for kind, reduced in registered.items():
        monkeypatch.setitem(copyreg.dispatch_table, kind, reduced)
    zero, offset = timedelta(0), timedelta(hours=2)
    zones = [UTC, timezone(zero, "Z"), timezone(offset), timezone(offset, "CEST")]
    moment, elsewhere = datetime(2026, 1, 2, tzinfo=UTC), ZoneInfo("Europe/Amsterdam")
    things = [moment, *zones, elsewhere, Registered()]
    for thing in [*things, [*things, things]]:
        pickled = PickleSerializer.dumps(thing)
        assert pickled == pickle.dumps(thing, pickle.HIGHEST_PROTOCOL)


@pytest.mark.parametrize(
    ("pickled", "zone"),
    [
        (b"cpytz\n_UTC\n(tR.", UTC),
        (b"cdjango.utils.timezone\nUTC\n(tR.", UTC),
        (
            b"cpytz\n_p\n(S'Europe/Amsterdam'\nI1200\nI0\nS'LMT'\ntR.",
            ZoneInfo("Europe/Amsterdam"),
        ),
    ],
)
def test_time_zones_of_older_djangos_are_read(pickled: bytes, zone: object) -> None:
    assert PickleSerializer.loads(pickled) == zone


def test_other_modules_that_are_gone_are_missed() -> None:
    with pytest.raises(ModuleNotFoundError, match="gone"):
        PickleSerializer.loads(b"cgone\nthing\n(tR.")
    with pytest.raises(ModuleNotFoundError, match="pytz"):
        PickleSerializer.loads(b"cpytz\nother\n(tR.")


def test_compression_is_kept_where_it_helps() -> None:
    compressed = SignedPackage.dumps("x" * 1000, compressed=True)
    assert compressed.startswith(".")
    assert len(compressed) < 200
    assert SignedPackage.loads(compressed) == "x" * 1000
    assert not SignedPackage.dumps("x", compressed=True).startswith(".")
    assert not SignedPackage.dumps("x" * 1000).startswith(".")


def test_the_setting_compresses(q_settings: Any) -> None:
    q_settings(compress=True)
    assert SignedPackage.dumps("x" * 1000).startswith(".")
    assert not SignedPackage.dumps("x" * 1000, compressed=False).startswith(".")


def tampered() -> list[str | bytes]:
    package = SignedPackage.dumps(Bomb())
    body, stamp, signature = package.split(":")
    other_key = signing.dumps(
        Bomb(), key="another", salt="tests", serializer=PickleSerializer
    )
    other_salt = signing.dumps(Bomb(), salt="other", serializer=PickleSerializer)
    return [
        *("", "x", ":", "::", "\0", "…", b"\xff\xfe", package[:-1], package[1:]),
        *(f"{body}:{stamp}", f"{body}A:{stamp}:{signature}", f".{package}"),
        *(f"{body}:{stamp}x:{signature}", f"{package}\n", other_key, other_salt),
        pickle.dumps(Bomb()),
        f"{package}\udc80",
    ]


@pytest.mark.parametrize("number", range(18))
def test_a_package_that_is_not_ours_is_refused_unread(number: int) -> None:
    package = tampered()[number]
    with pytest.raises(UnreadablePackage) as caught:
        SignedPackage.loads(package)
    assert isinstance(caught.value, BadSignature)
    assert "Nothing was unpickled" in str(caught.value)


def test_a_rotated_key_still_opens_what_waits(settings: Any) -> None:
    package = SignedPackage.dumps("old")
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "fresh"
    assert SignedPackage.loads(package) == "old"
    fresh = SignedPackage.dumps("new")
    settings.SECRET_KEY_FALLBACKS = []
    assert SignedPackage.loads(fresh) == "new"
    with pytest.raises(UnreadablePackage):
        SignedPackage.loads(package)


def test_a_sealer_signs_with_the_key_of_the_moment_when_it_was_made(
    settings: Any,
) -> None:
    sealer, opener = Sealer(), Opener()
    settings.SECRET_KEY = "fresh"
    assert opener.loads(sealer.dumps("x")) == "x"


def test_a_sealer_signs_each_object_as_if_it_were_the_only_one() -> None:
    sealer = Sealer()
    large, shared = list(map(str, range(10_000))), ["a" * 50]
    for thing in ({"a": shared}, large, [shared, large], {"a": shared}, None):
        assert_pickled_alone(sealer, thing)
    with pytest.raises(TypeError):
        sealer.dumps([large, Lock()])
    assert_pickled_alone(sealer, shared)


def test_a_sealer_may_be_used_by_what_it_signs() -> None:
    sealer = Sealer()

    class Nested:
        def __reduce__(self) -> Any:
            return str, (sealer.dumps("inner"),)

    package = SignedPackage.loads(sealer.dumps(["a", Nested(), "a"]))[1]
    assert SignedPackage.loads(package) == "inner"
    assert_pickled_alone(sealer, ["a", "a"])


def test_a_sealer_knows_reducers_that_come_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sealer, table = Sealer(), dict(copyreg.dispatch_table)
    monkeypatch.setattr(copyreg, "dispatch_table", table)
    sealer.dumps(1)
    table[Bomb] = lambda _bomb: (str, ("harmless",))
    assert SignedPackage.loads(sealer.dumps(Bomb())) == "harmless"
    table[Bomb] = lambda _bomb: (str, ("replaced",))
    assert SignedPackage.loads(sealer.dumps(Bomb())) == "replaced"


@pytest.mark.parametrize("size", [1, 100_000])
def test_a_sealer_keeps_nothing_of_what_it_has_sealed(size: int) -> None:
    sealer, thing = Sealer(), Harmless(size)
    life = weakref.ref(thing)
    sealer.dumps(thing)
    del thing
    assert life() is None


def test_what_is_remembered_of_a_large_object_is_not_cleared_again_and_again() -> None:
    """It would be cleared slot by slot, for each small one after it."""
    pickling = _Pickling()
    pickling.dumps("small")
    first = pickling._kept  # noqa: SLF001
    pickling.dumps("small")
    assert pickling._kept is first  # noqa: SLF001
    pickling.dumps(list(map(str, range(10_000))))
    assert pickling._kept is None  # noqa: SLF001


def assert_pickled_alone(sealer: Sealer, thing: object) -> None:
    assert SignedPackage.verify(sealer.dumps(thing)) == pickle.dumps(thing, 5)


def test_an_opener_has_the_keys_of_the_moment_when_it_was_made(settings: Any) -> None:
    package, opener = SignedPackage.dumps("old"), Opener()
    settings.SECRET_KEY = "fresh"
    assert opener.loads(package) == "old"
    assert Opener().loads(SignedPackage.dumps("new")) == "new"
    for use, unknown in ((Opener(), package), (opener, SignedPackage.dumps("new"))):
        with pytest.raises(UnreadablePackage):
            use.loads(unknown)


def test_without_a_key_nothing_is_signed(settings: Any) -> None:
    package = SignedPackage.dumps(1)
    settings.SECRET_KEY = ""
    for use in (SignedPackage.dumps, SignedPackage.loads):
        with pytest.raises(ImproperlyConfigured, match="Set a long random SECRET_KEY"):
            use(package)


def test_age_does_not_matter(time_machine: Any) -> None:
    time_machine.move_to("2015-07-01")
    package = SignedPackage.dumps("old")
    time_machine.move_to("2035-07-01")
    assert SignedPackage.loads(package) == "old"


class TestSize:
    def test_too_large_a_package_is_not_sent(self, q_settings: Any) -> None:
        q_settings(max_package_size=1000)
        assert SignedPackage.dumps("x" * 500)
        with pytest.raises(PackageTooLarge, match=r"needs 2,\d\d\d bytes; .* 1,000"):
            SignedPackage.dumps("x" * 2000)

    def test_too_large_a_package_is_not_read(self, q_settings: Any) -> None:
        package = SignedPackage.dumps("x" * 2000)
        q_settings(max_package_size=1000)
        with pytest.raises(UnreadablePackage, match="limit is 1,000"):
            SignedPackage.loads(package)

    def test_a_package_that_swells_is_not_inflated(self, q_settings: Any) -> None:
        package = SignedPackage.dumps("x" * 1_000_000, compressed=True)
        assert len(package) < 5000
        q_settings(max_package_size=5000)
        with pytest.raises(UnreadablePackage, match="limit is 5,000"):
            SignedPackage.loads(package)

    def test_signed_rubbish_that_only_looks_compressed(self) -> None:
        signer = signing.TimestampSigner(salt="tests")
        for body in (".AAAA", ".!!!!"):
            with pytest.raises(UnreadablePackage):
                SignedPackage.verify(signer.sign(body))

    def test_verifying_gives_the_pickle_unread(self) -> None:
        data = SignedPackage.verify(SignedPackage.dumps(Bomb(), compressed=True))
        assert data == PickleSerializer.dumps(Bomb())
        assert zlib.compress(data)


def test_key_that_is_assigned_is_taken_as_it_is(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SECRET_KEY = "the same"
    package = SignedPackage.dumps("thing")
    monkeypatch.setattr(Conf, "SECRET_KEY", b"the same")
    assert SignedPackage.loads(package) == "thing"
    monkeypatch.setattr(Conf, "SECRET_KEY", None)
    with pytest.raises(ImproperlyConfigured, match="SECRET_KEY is empty"):
        SignedPackage.dumps("thing")
