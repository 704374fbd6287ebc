"""Settings and clocks that are wrong, and odd names: every broker beside the database says
what to do, nothing is lost, and nobody waits for ever.

The databases have the same in test_databases_bad_input.py.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import socketserver
import ssl
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone

from django_q.brokers.registry import KINDS, Kind
from django_q.exceptions import (
    BrokerError,
    BrokerUnavailable,
    ConfigurationError,
    PackageTooLarge,
)
from django_q.tasks import async_task
from tests.benches.disque_server import DisqueServer
from tests.benches.iron_server import IronServer
from tests.benches.mongo_server import MongoServer
from tests.benches.mongo_server import Refusal as MongoRefusal
from tests.contract.brokers import packages_of, take
from tests.integration.bad_input import (
    NAMES,
    SECRET,
    Entries,
    Use,
    complaints,
    keeps_time,
    use,
    wrong_clock,
)
from tests.servers import SqsServer, free_port

__all__ = ["use"]

HERE = "127.0.0.1"


@dataclass
class Way:
    """How settings lead to a server, and how they lead astray."""

    entries: Entries
    setting: str
    """What a message must name."""

    to: Callable[[str, int], Entries]
    """Entries that lead to another host and port, with a secret."""

    stranger: Entries | None = None
    """Entries with a wrong password."""

    guest: Entries | None = None
    """Entries with too few rights."""

    allows: Sequence[str] = ()
    """What a message about rights must name."""

    let_in: Callable[[], None] = field(default=lambda: None)


def to_redis(request: pytest.FixtureRequest) -> Iterator[Way]:
    import redis  # noqa: PLC0415 - it may be missing

    server = request.getfixturevalue("redis_server")
    with redis.Redis.from_url(server.url) as client:
        client.acl_setuser(
            "guest",
            enabled=True,
            passwords=["+plain"],
            keys=["*"],
            commands=["+@read", "+@connection"],
        )
        plain = {"host": HERE, "port": server.port}
        yield Way(
            {"redis": server.url},
            "Q_CLUSTER['redis']",
            lambda host, port: {"redis": f"redis://:{SECRET}@{host}:{port}/0"},
            {"redis": {**plain, "username": "guest", "password": SECRET}},
            {"redis": {**plain, "username": "guest", "password": "plain"}},
            ("no permissions", "django_q:*"),
        )
        client.acl_deluser("guest")
        client.flushdb()


def to_disque(_request: pytest.FixtureRequest) -> Iterator[Way]:
    with DisqueServer(password="plain") as server:
        secret = {"disque_auth": SECRET}
        yield Way(
            {"disque_nodes": [server.address], "disque_auth": "plain"},
            "Q_CLUSTER['disque_",
            lambda host, port: {"disque_nodes": [f"{host}:{port}"], **secret},
            {"disque_nodes": [server.address], **secret},
        )


def to_ironmq(_request: pytest.FixtureRequest) -> Iterator[Way]:
    with IronServer() as server:
        secret = {**server.settings, "token": SECRET}
        yield Way(
            {"iron_mq": server.settings},
            "Q_CLUSTER['iron_mq']",
            lambda host, port: {"iron_mq": {**secret, "host": host, "port": port}},
            {"iron_mq": secret},
            {"iron_mq": {**server.settings, "project_id": "of-others"}},
            ("project_id",),
        )


def to_mongo(_request: pytest.FixtureRequest) -> Iterator[Way]:
    with MongoServer() as server:
        soon = {"serverSelectionTimeoutMS": 100}
        wrong = {"host": f"mongodb://shop:{SECRET}@{server.address}/"}

        def forbid() -> None:
            server.refuses["saslStart"] = MongoRefusal(
                18, "AuthenticationFailed", "Authentication failed."
            )
            denied = "not authorized on django-q to execute command { x: 1 }"
            for verb in ("createIndexes", "findAndModify"):
                server.refuses[verb] = MongoRefusal(13, "Unauthorized", denied)

        forbid()
        yield Way(
            {"mongo": server.settings},
            "Q_CLUSTER['mongo']",
            lambda host, port: {
                "mongo": {"host": f"mongodb://shop:{SECRET}@{host}:{port}/", **soon}
            },
            {"mongo": wrong},
            {"mongo": server.settings},
            ("readWrite",),
            server.refuses.clear,
        )


def to_sqs(request: pytest.FixtureRequest) -> Iterator[Way]:
    server = request.getfixturevalue("sqs_server")
    secret = {**server.settings, "aws_secret_access_key": SECRET}

    def to(host: str, port: int) -> Entries:
        return {"sqs": {**secret, "endpoint_url": f"http://{host}:{port}"}}

    # moto believes everybody; what SQS itself answers is in tests/contract_q/test_sqs.py.
    yield Way({"sqs": server.settings}, "Q_CLUSTER['sqs']", to)


WAYS = {
    "redis": to_redis,
    "disque": to_disque,
    "ironmq": to_ironmq,
    "mongo": to_mongo,
    "sqs": to_sqs,
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Iterator[Way]:
    yield from WAYS[request.param](request)


# -- the way there


@pytest.mark.parametrize("host", [HERE, "no-such-host.invalid"])
def test_wrong_host_is_named_with_the_setting(way: Way, use: Use, host: str) -> None:
    port = free_port()
    broker = use(way.to(host, port))
    for text in complaints(broker):
        assert f"{host}:{port}" in text
        assert way.setting in text
        assert 'Q_CLUSTER = {"orm": "default"}' in text
    with pytest.raises(BrokerUnavailable):
        broker.enqueue("package")


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Of a host that takes connections, and never says a word."""
    with socket.create_server((HERE, 0), backlog=50) as listener:
        yield listener.getsockname()[1]


def test_host_that_says_nothing_is_given_up(
    way: Way, use: Use, silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = ("redis", "disque", "iron", "sqs")
    for kind in kinds:
        module = import_module(f"django_q.brokers.{kind}_client")
        for limit in ("ANSWERS_WITHIN", "CONNECTS_WITHIN"):
            # By itself it is at most so long that nobody thinks that we hang.
            assert getattr(module, limit, 0) <= 10
            monkeypatch.setattr(module, limit, 0.1, raising=False)
    broker = use(way.to(HERE, silent_port))
    with pytest.raises(BrokerUnavailable, match=f"{HERE}:{silent_port}"):
        broker.enqueue("package")
    with pytest.raises(BrokerUnavailable, match=f"{HERE}:{silent_port}"):
        broker.ping()


# -- who we are


def test_wrong_password_is_told_without_it(way: Way, use: Use) -> None:
    if way.stranger is None:
        pytest.skip("its server believes everybody")
    for text in complaints(use(way.stranger)):
        assert way.setting in text
        assert "Can't reach" not in text
    way.let_in()
    assert use(way.entries).queue_size() == 0


def test_missing_right_is_named(way: Way, use: Use) -> None:
    if way.guest is None:
        pytest.skip("it knows no rights, or its server grants them all")
    broker = use(way.guest)
    with pytest.raises(BrokerError) as caught:
        async_task("math.sqrt", 4, q_options={"broker": broker})
    for word in way.allows:
        assert word in str(caught.value)
    assert not isinstance(caught.value, BrokerUnavailable)
    way.let_in()
    assert use(way.entries, broker.short_key).queue_size() == 0


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if kind.package], ids=lambda kind: kind.setting
)
def test_missing_client_library_is_named_with_the_command(
    kind: Kind, q_settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"disque_nodes": ["localhost"], "mongo": {"host": "localhost"}}
    for name in list(sys.modules):
        if name.startswith("django_q.brokers.") and "registry" not in name:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, kind.package, None)
    q_settings(orm=None, **{kind.setting: settings.get(kind.setting, {})})
    with pytest.raises(ConfigurationError) as caught:
        async_task("math.sqrt", 4)
    text = str(caught.value)
    assert f"The {kind.title} broker needs the package {kind.package!r}" in text
    assert "python -m pip install" in text
    assert f"django-q3[{kind.extra or kind.package}]" in text


# -- names of queues


def test_odd_name_works_or_is_refused_and_mixes_with_no_other(
    way: Way, use: Use
) -> None:
    way.let_in()
    brokers, refused = {}, {}
    prefix = f"{uuid4().hex[:6]}-" if "sqs" in way.entries else ""
    for title, name in NAMES.items():
        try:
            broker = use(way.entries, prefix + name)
            broker.enqueue(title)
            broker.enqueue(title, delay=60)
        except ConfigurationError as error:
            refused[title] = str(error)
        else:
            brokers[title] = broker
    for title, text in refused.items():
        assert repr(prefix + NAMES[title])[1:9] in text
        assert "cluster" in text
        assert len(text) < 400
        assert text.isprintable()
    assert {"plain", "capital"} <= brokers.keys()
    for broker in brokers.values():
        broker.ping()
    for title, broker in brokers.items():
        assert packages_of(take(broker, 9)) == [title]
    for title, broker in brokers.items():
        assert (title, broker.queue_size()) == (title, 0)
        broker.delete_queue()


# -- sizes


def test_package_that_is_too_large_names_the_setting(way: Way, use: Use) -> None:
    way.let_in()
    broker = use(way.entries)
    with pytest.raises(PackageTooLarge, match=r"Pass a file name or an id, or raise"):
        async_task("builtins.len", "x" * 11_000_000, q_options={"broker": broker})
    assert broker.queue_size() == 0


# -- clocks


@pytest.mark.parametrize("hours", [-1, 1])
def test_clock_of_the_client_does_not_matter(way: Way, use: Use, hours: int) -> None:
    way.let_in()
    keeps_time(use, way.entries, hours)


@pytest.mark.parametrize("hours", [-1, 1])
def test_signature_of_a_wrong_clock_is_explained(
    sqs_server: SqsServer, use: Use, hours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = use({"sqs": sqs_server.settings})
    broker.enqueue("by a right clock")
    sqs_server.be_strict(True)
    try:
        with wrong_clock(hours) as wrong_now, monkeypatch.context() as patch:
            patch.setattr("botocore.auth.get_current_datetime", naive(wrong_now))
            told = complaints(broker)
        assert broker.queue_size() == 1
    finally:
        sqs_server.be_strict(False)
    way = "ahead of" if hours > 0 else "behind"
    for text in told:
        assert f"The clock of this machine is 60 minutes {way} that of Amazon" in text


def naive(now: Callable[[], datetime]) -> Callable[..., datetime]:
    """The clock of boto3, which shows UTC without saying so."""
    return lambda *_args, **_rest: now().replace(tzinfo=None)


@pytest.fixture(params=[-1, 1], ids=["clock is behind", "clock is ahead"])
def dated_port(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[int]:
    """Of a host whose certificate is good for an hour, an hour ago or in an hour."""
    pytest.importorskip("cryptography")
    file = tmp_path / "certificate.pem"
    write_certificate(file, timezone.now() - timedelta(hours=request.param * 1.5))
    for variable in ("SSL_CERT_FILE", "AWS_CA_BUNDLE"):
        monkeypatch.setenv(variable, str(file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)

    class Greeting(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError), context.wrap_socket(self.request, True):
                pass

    with socketserver.ThreadingTCPServer((HERE, 0), Greeting) as server:
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def write_certificate(file: Path, middle: datetime) -> None:
    """Of this host, and good for an hour."""
    from cryptography import x509  # noqa: PLC0415 - it may be missing
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HERE)])
    address = x509.IPAddress(ipaddress.ip_address(HERE))
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(middle - timedelta(minutes=30))
        .not_valid_after(middle + timedelta(minutes=30))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    secret = key.private_bytes(
        encoding,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    file.write_bytes(certificate.public_bytes(encoding) + secret)


def test_certificate_that_is_refused_by_a_wrong_clock_is_explained(
    use: Use, dated_port: int
) -> None:
    file, place = os.environ["SSL_CERT_FILE"], f"{HERE}:{dated_port}"
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
    soon = {"serverSelectionTimeoutMS": 300, "tls": True, "tlsCAFile": file}
    web = {"host": HERE, "port": dated_port, "token": "t", "project_id": "p"}
    several: list[Entries] = [
        {"redis": f"rediss://{place}/0?ssl_ca_certs={file}"},
        {"iron_mq": web, "redis": None},
        {"mongo": {"host": f"mongodb://{place}/", **soon}, "iron_mq": None},
        {
            "sqs": {
                **keys,
                "aws_region": "eu-west-1",
                "endpoint_url": f"https://{place}",
            }
        },
    ]
    for entries in several:
        broker = use(entries)
        with pytest.raises(BrokerUnavailable) as caught:
            broker.enqueue("package")
        assert "Check the clock of this machine" in str(caught.value)
        assert place in str(caught.value)
