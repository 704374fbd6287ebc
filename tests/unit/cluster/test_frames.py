"""Frames: what is encoded comes back, whatever it is."""

from __future__ import annotations

import pytest

from django_q.cluster.frames import (
    HEADER,
    Errand,
    Frame,
    Kind,
    Report,
    control,
    decode_parcels,
    decode_report,
    encode_parcels,
    encode_report,
)
from tests.unit.cluster.making import make_parcel, make_record

TEXTS = ["", "a", "plain", "Grüße, 世界 🦊", "\0\n\r", "\udc80 lone", "x" * 60_000]


def body_of(frame: bytes) -> bytes:
    length, _kind = HEADER.unpack_from(frame)
    assert length == len(frame) - HEADER.size
    return frame[HEADER.size :]


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_fits_into_the_header(kind: Kind) -> None:
    length, read = HEADER.unpack_from(Frame(kind, b"abc").encode())
    assert (length, Kind(read)) == (3, kind)


def test_kinds_differ() -> None:
    assert len({kind.value for kind in Kind}) == len(Kind.__members__)


def test_control_frame_without_facts_is_a_bare_header() -> None:
    assert control(Kind.STOP) == HEADER.pack(0, Kind.STOP)
    assert Frame(Kind.STOP).facts == {}


@pytest.mark.parametrize(
    "facts",
    [
        {"generation": 1},
        {"number": 2**64 - 1},
        {"numbers": []},
        {"numbers": list(range(5000))},
        {"text": "Grüße \0 🦊 \ud800", "cut": True, "nothing": None},
    ],
)
def test_facts_come_back(facts: dict[str, object]) -> None:
    body = body_of(control(Kind.DEAD, **facts))
    assert Frame(Kind.DEAD, body).facts == facts


def test_no_parcels_at_all() -> None:
    assert list(decode_parcels(body_of(encode_parcels([])))) == []


@pytest.mark.parametrize("text", TEXTS)
def test_texts_of_a_parcel_come_back(text: str) -> None:
    sent = make_parcel(cause=text[:100], text=text, receipt=text, package=text * 20)
    assert list(decode_parcels(body_of(encode_parcels([sent])))) == [sent]


def test_numbers_of_a_parcel_may_be_as_large_as_they_get() -> None:
    sent = make_parcel(2**64 - 1, key=2**64 - 1, starts=2**32 - 1, attempts=2**32 - 1)
    (read,) = decode_parcels(body_of(encode_parcels([sent])))
    assert read == sent


@pytest.mark.parametrize("errand", Errand)
def test_errand_comes_back_as_one(errand: Errand) -> None:
    (read,) = decode_parcels(body_of(encode_parcels([make_parcel(errand=errand)])))
    assert read.errand is errand


def test_parcels_keep_their_order() -> None:
    sent = [make_parcel(n, package="x" * n, text=TEXTS[n % 4]) for n in range(300)]
    assert list(decode_parcels(body_of(encode_parcels(sent)))) == sent


def test_large_package_comes_back() -> None:
    sent = [make_parcel(1, package="ü" * 5_000_000), make_parcel(2)]
    assert list(decode_parcels(body_of(encode_parcels(sent)))) == sent


@pytest.mark.parametrize("length", [65_536, 70_000, 1_000_000])
def test_story_of_a_death_may_be_long(length: int) -> None:
    sent = make_parcel(text="ü" * length)
    assert list(decode_parcels(body_of(encode_parcels([sent])))) == [sent]


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("receipt", ["", "7:1", "Quittung-ü", "r" * 2000])
@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_report_comes_back(receipt: str, size: int, *, again: bool) -> None:
    sent = Report(2**63 + 5, receipt, again, b"\0\xff"[:size] * max(1, size // 2))
    assert decode_report(body_of(encode_report(sent))) == sent


def test_record_travels_in_a_report() -> None:
    record = make_record(
        name="Grüße", result="\udc80".encode("utf-8", "replace").decode()
    )
    sent = Report(1, "7:1", False, record.to_bytes())
    read = decode_report(body_of(encode_report(sent)))
    assert type(record).from_bytes(read.record) == record
