"""The table of docs/brokers.rst is what the flags of the brokers say."""

from __future__ import annotations

import pytest

from django_q.brokers import Broker
from tests import capabilities

for client in ("redis", "boto3", "pymongo"):
    pytest.importorskip(client)


def test_page_shows_the_flags() -> None:
    said = capabilities.PAGE.read_text(encoding="utf-8")
    assert said == capabilities.table(), "run: python -m tests.capabilities"


def test_every_flag_has_a_row() -> None:
    flags = {name for name in vars(Broker) if name.startswith("supports_")}

    class Nothing(Broker):
        pass

    def rows(broker: type[Broker]) -> list[bool]:
        return [has(broker) for has in capabilities.CAPABILITIES.values()]

    assert not any(rows(Nothing))
    for flag in flags:
        only = type("Only", (Broker,), {flag: True})
        assert any(rows(only)), flag
