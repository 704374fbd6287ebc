"""A real Disque, where there is one: `disque-server` on the path, or what DISQUE_SERVER names."""

from __future__ import annotations

import os
import shutil
from contextlib import closing
from pathlib import Path

from django_q.brokers.disque_client import Nodes
from tests.servers import ADDRESS, Identity, Server

PROGRAM = shutil.which(os.environ.get("DISQUE_SERVER") or "disque-server")


class RealDisque(Server):
    """disque-server, which keeps no jobs on disk."""

    title = "Disque"
    database = "disque"
    packages = ()
    account = "nobody"

    @classmethod
    def programs(cls) -> dict[str, Path] | None:
        return {"server": Path(PROGRAM)} if PROGRAM else None

    @classmethod
    def identity(cls) -> Identity:
        """It refuses nobody, and perhaps lies where nobody else may look."""
        return {}

    @property
    def address(self) -> str:
        return f"{ADDRESS}:{self.port}"

    def prepare(self) -> None:
        self.data.mkdir()

    def command(self) -> list[str]:
        where = ["--port", str(self.port), "--dir", str(self.data)]
        return [str(self.program("server")), *where]

    def answers(self) -> bool:
        with closing(Nodes([self.address])) as nodes:
            try:
                return bool(nodes.execute_command("PING"))
            except ConnectionError:
                return False
