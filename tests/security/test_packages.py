"""Rows 1 to 6 and 24 to 26: what is signed, by whom, and what is opened."""

from __future__ import annotations

import hashlib
import hmac
import pickle
from datetime import timedelta
from typing import Any

import pytest
from django.core import signing
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command

from django_q import clock
from django_q.cluster import Cluster
from django_q.envelope import Envelope
from django_q.exceptions import PackageTooLarge, UnreadablePackage
from django_q.options import Options
from django_q.outcome import Cause, Outcome
from django_q.retrying import pause_before_retry, staleness
from django_q.signing import PickleSerializer, SignedPackage
from tests.security.harm import Bomb


def refuse(package: str | bytes) -> None:
    with pytest.raises(UnreadablePackage):
        Envelope.open(package)


def test_s01_package_that_was_tampered_with_is_refused_before_it_is_opened(
    bomb: Bomb,
) -> None:
    package = SignedPackage.dumps(bomb)
    body, stamp, signature = package.split(":")
    mended = [f"{body}:{stamp}", f"{body}A:{stamp}:{signature}", package[:40], ""]
    for changed in (*mended, f".{package}", f"{body}:{stamp}x:{signature}"):
        refuse(changed)
        refuse(changed.encode())
    refuse(b"\x80\x05\xff\0" * 100)
    assert not bomb.has_exploded


@pytest.mark.parametrize(
    "signed_by", [{"key": "another key", "salt": "tests"}, {"salt": "another site"}]
)
def test_s02_package_of_another_key_or_site_is_refused(
    bomb: Bomb, signed_by: Any
) -> None:
    refuse(signing.dumps(bomb, serializer=PickleSerializer, **signed_by))
    assert not bomb.has_exploded


def test_s03_pickle_without_a_signature_is_never_loaded(bomb: Bomb) -> None:
    data = pickle.dumps(bomb)
    for text in (data, data.hex(), signing.b64_encode(data)):
        refuse(text)
    assert not bomb.has_exploded
    pickle.loads(data)
    assert bomb.has_exploded


def queued(seconds: float) -> Envelope:
    """A task that was queued so many seconds ago, as it comes out of its package."""
    then = clock.now() - timedelta(seconds=seconds)
    task = Envelope(id="a" * 32, name="n", func="math.sqrt", args=(9,), started=then)
    return Envelope.open(task.seal())


def test_s04_task_above_its_age_is_stale_and_is_not_repeated() -> None:
    options = Options(max_task_age=60, max_attempts=5, ack_failures=False)
    assert staleness(queued(50), options) == ""
    reason = staleness(queued(7200), options)
    assert "queued 7,200 s ago" in reason
    assert "older than 60 s (setting 'max_task_age')" in reason
    ended = Outcome(
        envelope=queued(7200),
        success=False,
        result=reason,
        stopped=clock.now(),
        cause=Cause.TOO_OLD,
    )
    assert pause_before_retry(ended, options) is None


@pytest.mark.parametrize("limit", [None, 0])
def test_s04_without_a_limit_a_task_of_any_age_runs(limit: float | None) -> None:
    assert staleness(queued(10**8), Options(max_task_age=limit)) == ""


def test_s05_package_above_the_limit_is_neither_sent_nor_read(q_settings: Any) -> None:
    package = SignedPackage.dumps("x" * 2000)
    q_settings(max_package_size=1000)
    with pytest.raises(PackageTooLarge):
        SignedPackage.dumps("x" * 2000)
    with pytest.raises(UnreadablePackage, match="limit is 1,000"):
        SignedPackage.verify(package)


def test_s06_bomb_is_inflated_only_under_a_signature_and_up_to_the_limit(
    q_settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = SignedPackage.dumps("x" * 5_000_000, compressed=True)
    q_settings(max_package_size=20_000)
    with pytest.raises(UnreadablePackage, match="limit is 20,000"):
        SignedPackage.verify(package)
    monkeypatch.setattr("django_q.signing._unpack", pytest.fail)
    refuse(package[:-1] + ("A" if package[-1] != "A" else "B"))


def test_s25_rotated_key_opens_what_waits_as_long_as_it_is_named(
    settings: Any,
) -> None:
    package = queued(0).seal()
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "fresh"
    assert Envelope.open(package).args == (9,)
    fresh = queued(0).seal()
    settings.SECRET_KEY_FALLBACKS = []
    refuse(package)
    assert Envelope.open(fresh).args == (9,)


def test_s25_empty_key_among_the_former_ones_opens_nothing(settings: Any) -> None:
    settings.SECRET_KEY_FALLBACKS = ["", "the former one"]
    value, _, _ = SignedPackage.dumps({"a": 1}).rpartition(":")
    for key, is_opened in (("", False), ("the former one", True)):
        derived = hashlib.sha256(f"testssigner{key}".encode()).digest()
        made = hmac.new(derived, value.encode(), hashlib.sha256).digest()
        package = f"{value}:{signing.b64_encode(made).decode()}"
        if is_opened:
            assert SignedPackage.loads(package) == {"a": 1}
        else:
            refuse(package)


@pytest.mark.django_db
def test_s25_nothing_starts_and_nothing_is_queued_without_a_key(settings: Any) -> None:
    settings.SECRET_KEY = ""
    with pytest.raises(CommandError, match="SECRET_KEY"):
        call_command("qcluster")
    with pytest.raises(ImproperlyConfigured, match="SECRET_KEY"):
        queued(0)
    cluster = Cluster()
    with pytest.raises(ImproperlyConfigured, match="SECRET_KEY"):
        cluster.start()


def test_s26_signature_is_hmac_of_sha_256_salted_with_the_sites_name(
    settings: Any,
) -> None:
    body, _, signature = SignedPackage.dumps({"a": 1}).rpartition(":")
    salted = b"tests" + b"signer" + settings.SECRET_KEY.encode()
    key = hashlib.sha256(salted).digest()
    expected = hmac.new(key, body.encode(), hashlib.sha256).digest()
    assert signature == signing.b64_encode(expected).decode()


def test_s26_signatures_are_compared_in_constant_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared: list[bytes] = []
    compare = hmac.compare_digest

    def spy(first: bytes, second: bytes) -> bool:
        compared.append(first)
        return compare(first, second)

    package = SignedPackage.dumps(1)
    monkeypatch.setattr(hmac, "compare_digest", spy)
    assert SignedPackage.loads(package) == 1
    assert compared == [package.rpartition(":")[2].encode()]
