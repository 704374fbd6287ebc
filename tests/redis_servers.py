"""Redis in company: with TLS, as a cluster, and as a master behind a Sentinel."""

from __future__ import annotations

import signal
import socket
import ssl
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from redis import Redis as Client

from tests.servers import ADDRESS, RedisServer, free_port
from tests.waiting import wait_until

SLOTS = 16384
HIGHEST_PORT = 55_000
"""The nodes of a cluster talk to each other on a port that is 10,000 higher."""


class RedisWithTls(RedisServer):
    """Talks to nobody without TLS and a certificate of its authority."""

    def prepare(self) -> None:
        super().prepare()
        self.ca = self.folder / "ca.crt"
        make_certificates(self.folder)
        for file in self.folder.iterdir():
            self.give_away(file)

    def settings(self) -> dict[str, str]:
        return super().settings() | {
            "port": "0",
            "tls-port": str(self.port),
            "tls-cert-file": str(self.folder / "server.crt"),
            "tls-key-file": str(self.folder / "server.key"),
            "tls-ca-cert-file": str(self.ca),
        }

    def answers(self) -> bool:
        context = ssl.create_default_context(cafile=self.ca)
        context.load_cert_chain(self.folder / "client.crt", self.folder / "client.key")
        try:
            with (
                socket.create_connection((ADDRESS, self.port), timeout=1) as line,
                context.wrap_socket(line, server_hostname=ADDRESS) as safe,
            ):
                safe.sendall(b"PING\r\n")
                return safe.recv(5) == b"+PONG"
        except OSError:
            return False

    @property
    def client(self) -> Client:
        return Client(ADDRESS, self.port, ssl=True, **self.certificates)

    @property
    def certificates(self) -> dict[str, Any]:
        """Keywords of the client."""
        return {
            "ssl_ca_certs": str(self.ca),
            "ssl_certfile": str(self.folder / "client.crt"),
            "ssl_keyfile": str(self.folder / "client.key"),
        }


def make_certificates(folder: Path) -> None:
    """An authority, and certificates of it for a server and a client."""

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl(
        *("req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.crt"),
        *("-days", "2", "-subj", "/CN=authority of the tests"),
        *("-addext", "keyUsage=critical,keyCertSign"),
    )
    (folder / "extensions").write_text(
        f"subjectAltName=IP:{ADDRESS},DNS:localhost\nauthorityKeyIdentifier=keyid\n"
    )
    for name in ("server", "client"):
        openssl(
            *("req", *new_key, "-keyout", f"{name}.key", "-out", f"{name}.csr"),
            *("-subj", f"/CN={name}"),
        )
        openssl(
            *("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.crt"),
            *("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"),
            *("-days", "2", "-extfile", "extensions"),
        )


class RedisNode(RedisServer):
    """One node of a cluster; it is killed, and never asked to stop."""

    # In order, it would wait for its replica.
    stop_signal = signal.SIGKILL

    def launch(self) -> None:
        self.within = min(self.within, 20)
        for _ in range(20):
            self.port = free_port()
            if self.port < HIGHEST_PORT and self.runs():
                return
        super().launch()

    def settings(self) -> dict[str, str]:
        return super().settings() | {
            "cluster-enabled": "yes",
            "cluster-node-timeout": "1000",
        }

    def ask(self, *words: Any) -> Any:
        with Client(host=ADDRESS, port=self.port, decode_responses=True) as client:
            return client.execute_command(*words)

    def keys(self) -> list[str]:
        """Those of our queues."""
        return sorted(self.ask("KEYS", "django_q:*"))


class RedisClusterServer:
    """Three nodes that share the slots; perhaps with a replica of the first one."""

    def __init__(self, *, replicated: bool = False) -> None:
        self.nodes = [RedisNode() for _ in range(3)]
        self.replicas = [RedisNode()] * replicated

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for node in (*self.nodes, *self.replicas):
                stack.enter_context(node)
            self._share_slots()
            wait_until(self.is_whole, within=30)
            for replica in self.replicas:
                name = self.nodes[0].ask("CLUSTER MYID")
                replica.ask("CLUSTER REPLICATE", name)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    def _share_slots(self) -> None:
        size = SLOTS // len(self.nodes) + 1
        for number, node in enumerate(self.nodes):
            slots = range(number * size, min(SLOTS, (number + 1) * size))
            node.ask("CLUSTER ADDSLOTS", *slots)
            node.ask("CLUSTER SET-CONFIG-EPOCH", number + 1)
        for node in (*self.nodes[1:], *self.replicas):
            node.ask("CLUSTER MEET", ADDRESS, self.nodes[0].port)

    def is_whole(self) -> bool:
        """Whether every node knows of all."""
        return all(self._is_content(node) for node in (*self.nodes, *self.replicas))

    def _is_content(self, node: RedisNode) -> bool:
        about = node.ask("CLUSTER INFO")
        known = int(about["cluster_known_nodes"])
        everybody = len(self.nodes) + len(self.replicas)
        return bool(about["cluster_state"] == "ok" and known == everybody)

    def has_copied(self) -> bool:
        """Whether the replica has all that the first node has confirmed."""
        master, replica = (
            node.ask("INFO", "replication")
            for node in (self.nodes[0], self.replicas[0])
        )
        return bool(
            replica["role"] == "slave"
            and replica["master_link_status"] == "up"
            and master["master_repl_offset"] == replica["slave_repl_offset"]
        )

    def flush(self) -> None:
        for node in self.nodes:
            node.ask("FLUSHALL")

    @property
    def addresses(self) -> list[tuple[str, int]]:
        return [(ADDRESS, node.port) for node in self.nodes]


class Replica(RedisServer):
    """A server that copies another."""

    def __init__(self, master: RedisServer) -> None:
        super().__init__()
        self.master = master

    def command(self) -> list[str]:
        return [*super().command(), "--replicaof", ADDRESS, str(self.master.port)]


class SentinelServer(RedisServer):
    """Watches a master; it alone decides on a failover."""

    title = "Redis Sentinel"

    def __init__(self, master: RedisServer, name: str) -> None:
        super().__init__()
        self.master = master
        self.name = name

    def command(self) -> list[str]:
        configuration = self.data / "sentinel.conf"
        configuration.write_text(
            f"bind {ADDRESS}\n"
            f"port {self.port}\n"
            f"dir {self.data}\n"
            f"sentinel monitor {self.name} {ADDRESS} {self.master.port} 1\n"
            f"sentinel down-after-milliseconds {self.name} 500\n"
            f"sentinel failover-timeout {self.name} 3000\n"
        )
        self.give_away(configuration)
        return [str(self.program("server")), str(configuration), "--sentinel"]


class WatchedRedis:
    """A master, its replica, and the Sentinel that makes the one of the other."""

    service = "the-queue"

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.master: RedisServer = stack.enter_context(RedisServer())
            self.replica = stack.enter_context(Replica(self.master))
            # The Sentinel looks at both when it starts, and then seldom.
            wait_until(self.has_copied, within=30)
            self.sentinel = SentinelServer(self.master, self.service)
            stack.enter_context(self.sentinel)
            wait_until(self.knows_the_replica, within=30)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    def ask(self, server: RedisServer, *words: Any) -> Any:
        with Client(host=ADDRESS, port=server.port, decode_responses=True) as client:
            return client.execute_command(*words)

    def knows_the_replica(self) -> bool:
        found: Sequence[Any] = self.ask(self.sentinel, "SENTINEL SLAVES", self.service)
        return any(self.is_well(each) for each in found)

    def is_well(self, replica: Any) -> bool:
        return bool(replica["master-link-status"] == "ok")

    def has_copied(self) -> bool:
        """Whether the replica has everything that the master has confirmed."""
        master = self.ask(self.master, "INFO", "replication")
        replica = self.ask(self.replica, "INFO", "replication")
        return bool(
            replica["master_link_status"] == "up"
            and master["master_repl_offset"] == replica["slave_repl_offset"]
        )

    def fail_over(self) -> None:
        """The master is killed; gives when the replica has taken over."""
        wait_until(self.has_copied)
        assert self.master.process is not None
        self.master.process.kill()
        wait_until(self.replica_is_master, within=30)

    def replica_is_master(self) -> bool:
        return bool(self.ask(self.replica, "ROLE")[0] == "master")

    @property
    def settings(self) -> dict[str, Any]:
        """Q_CLUSTER['redis'] for it."""
        sentinels = [(ADDRESS, self.sentinel.port)]
        return {"sentinels": sentinels, "service_name": self.service}
