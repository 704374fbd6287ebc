"""The broker of docs/own_broker.rst keeps the contract, as the page says."""

from __future__ import annotations

import importlib
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from django_q.brokers import Broker
from tests.contract.brokers import BrokerContract

PAGE = Path(__file__).resolve().parents[2] / "docs" / "own_broker.rst"
FILE = re.compile(r"   :caption: shop/(\w+\.py)\n((?:\n|   .*\n)+)")


class TestFolder(BrokerContract):
    @pytest.fixture(autouse=True)
    def _page(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """The files of the page, in a project of their own."""
        (tmp_path / "shop").mkdir()
        for name, code in FILE.findall(PAGE.read_text(encoding="utf-8")):
            (tmp_path / "shop" / name).write_text(textwrap.dedent(code))
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(tmp_path)
        self.shown: Any = importlib.import_module("shop.test_folder").TestFolder()
        yield
        for module in [m for m in sys.modules if m.split(".")[0] == "shop"]:
            del sys.modules[module]

    def make_broker(self, queue: str) -> Broker:
        broker: Broker = self.shown.make_broker(queue)
        return broker

    def pass_time(self, broker: Broker, seconds: float) -> None:
        self.shown.pass_time(broker, seconds)
