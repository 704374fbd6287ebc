"""Way: where Q_CLUSTER['redis'] says that Redis is; pure, and without its client."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import SplitResult, parse_qs, urlsplit

from django_q.exceptions import ConfigurationError
from django_q.logs import clean
from django_q.masking import mask
from django_q.ready import ReadyClient, is_client

WHERE: Final = "Q_CLUSTER['redis']"
PORT: Final = 6379
SENTINEL_PORT: Final = 26379

ENTRIES: Final = (
    "client",
    "url",
    "sentinels",
    "service_name",
    "min_other_sentinels",
    "sentinel_kwargs",
    "cluster",
    "startup_nodes",
)
"""Those that are ours; the rest are keywords of the client."""

EXAMPLE_URL: Final = "redis://localhost:6379/0"
QUOTE_IT: Final = (
    f"Write it like {EXAMPLE_URL}. In a password, quote what is special in URLs."
)

Address = tuple[str, int]


@dataclass(frozen=True, kw_only=True)
class Way:
    """One of: a client, a URL, a cluster, a master behind Sentinels, or keywords only.

    A URL and the nodes of a cluster may have keywords too.
    """

    client: Callable[[], Any] | str | None = None
    """What gives the client, or its dotted path."""

    url: str = field(default="", repr=False)
    is_cluster: bool = False
    nodes: tuple[Address, ...] = ()
    """Of the cluster, those to ask first."""

    sentinels: tuple[Address, ...] = ()
    service_name: str = ""
    min_other_sentinels: int = 0
    sentinel_kwargs: dict[str, Any] = field(default_factory=dict, repr=False)
    keywords: dict[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, setting: Any) -> Way:
        """What a setting says; ConfigurationError where it says nothing sensible."""
        if isinstance(setting, str):
            return cls(url=_url(setting))
        if isinstance(setting, ReadyClient) or is_client(setting):
            return cls(client=_client(setting))
        if not isinstance(setting, Mapping):
            raise wrong(
                f"{WHERE} must be a URL or a dictionary, not {type(setting).__name__}.",
                f"Write it like {EXAMPLE_URL}.",
            )
        given = {key: value for key, value in setting.items() if value is not None}
        keywords = {key: given[key] for key in given if key not in ENTRIES}
        _judge_company(given)
        return cls(
            client=_client(given.get("client")),
            url=_url(given["url"], f"{WHERE}['url']") if "url" in given else "",
            is_cluster=bool(given.get("cluster") or given.get("startup_nodes")),
            nodes=_addresses(given, "startup_nodes", PORT),
            sentinels=_addresses(given, "sentinels", SENTINEL_PORT),
            service_name=_service(given),
            min_other_sentinels=given.get("min_other_sentinels", 0),
            sentinel_kwargs=_sentinel_kwargs(given.get("sentinel_kwargs", {})),
            keywords=keywords,
        )

    @property
    def is_local(self) -> bool:
        """Whether packages stay on this host, for all that the settings say."""
        if self.client is not None or self.keywords.get("unix_socket_path"):
            return True
        hosts = [host for host, _port in (*self.nodes, *self.sentinels)]
        if self.url:
            parts = urlsplit(self.url)
            hosts += [] if parts.scheme == "unix" else [parts.hostname or "localhost"]
        elif not hosts:
            hosts = [str(self.keywords.get("host") or "localhost")]
        return all(is_loopback(host) for host in hosts)

    @property
    def is_guarded(self) -> bool:
        """Whether there is TLS, or a password."""
        parts = urlsplit(self.url)
        words = ("ssl", "password", "credential_provider")
        return (
            any(self.keywords.get(word) for word in words)
            or parts.scheme == "rediss"
            or bool(parts.password or "password" in parse_qs(parts.query))
        )


def wrong(message: str, hint: str) -> ConfigurationError:
    return ConfigurationError(message, hint=hint)


def split_url(url: str) -> SplitResult | None:
    """The parts of a URL; None if it is none."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _url(url: Any, where: str = WHERE) -> str:
    # Not a word of it in the message: it may have a password.
    if not isinstance(url, str) or split_url(url) is None:
        raise wrong(f"{where} is not a valid URL.", QUOTE_IT)
    return url


def _client(client: Any) -> Callable[[], Any] | str | None:
    if is_client(client):
        return ReadyClient(client)
    if client is None or isinstance(client, str) or callable(client):
        return client  # type: ignore[no-any-return]
    message = f"{WHERE}['client'] is neither a client nor a function that gives one."
    raise wrong(message, "Write 'client': 'shop.queue.make_client'.")


def _service(given: Mapping[str, Any]) -> str:
    name = given.get("service_name", "")
    if "sentinels" in given and not (name and isinstance(name, str)):
        message = f"{WHERE} lacks 'service_name', what the Sentinels call the master."
        raise wrong(message, "Write 'service_name': 'mymaster'.")
    return str(name)


def _sentinel_kwargs(keywords: Any) -> dict[str, Any]:
    if not isinstance(keywords, Mapping):
        message = f"{WHERE}['sentinel_kwargs'] must be a dictionary."
        raise wrong(message, "Write 'sentinel_kwargs': {'password': 'secret'}.")
    return dict(keywords)


APART: Final[Mapping[str, tuple[str, ...]]] = {
    "client": (),
    "sentinels": (
        *("url", "cluster", "startup_nodes", "host", "port", "unix_socket_path"),
    ),
    "cluster": ("unix_socket_path", "db"),
    "startup_nodes": ("url", "host", "port", "unix_socket_path", "db"),
    "url": ("host", "port", "unix_socket_path"),
}
"""Entries, and those that can't stand beside them."""

WHY: Final = {
    "client": "The function says all of it itself: remove the rest.",
    "sentinels": "The Sentinels say where the master is: remove the other.",
}


def _judge_company(given: Mapping[str, Any]) -> None:
    """Entries that can't go together, or not without another one."""
    for entry, others in APART.items():
        if not given.get(entry):
            continue
        found = [key for key in others or given if given.get(key) and key != entry]
        if found:
            message = (
                f"{WHERE} has {entry!r} and {found[0]!r}, which do not go together."
            )
            raise wrong(message, WHY.get(entry, "Keep one of them."))
    lonely = {"service_name", "sentinel_kwargs", "min_other_sentinels"} & given.keys()
    if lonely and "sentinels" not in given:
        message = f"{WHERE} has {min(lonely)!r} and no 'sentinels'."
        raise wrong(message, "Write 'sentinels': [('10.0.0.7', 26379)].")


def _addresses(
    given: Mapping[str, Any], entry: str, usual_port: int
) -> tuple[Address, ...]:
    if entry not in given:
        return ()
    listed = given[entry]
    if not isinstance(listed, list | tuple) or not listed:
        message = f"{WHERE}[{entry!r}] must be a list of addresses."
        raise wrong(message, f"Write {entry!r}: [('10.0.0.7', {usual_port})].")
    return tuple(_address(each, entry, usual_port) for each in listed)


def _address(given: Any, entry: str, usual_port: int) -> Address:
    """('host', 6379), 'host:6379', 'host', or {'host': 'host', 'port': 6379}."""
    host, port = _host_and_port(given)
    try:
        if host and isinstance(host, str):
            return host, int(port or usual_port)
    except (TypeError, ValueError):
        pass
    shown = clean(repr(mask(entry, given)), 40)
    message = f"{WHERE}[{entry!r}] has {shown}, which is no address."
    raise wrong(message, f"Write ('10.0.0.7', {usual_port}).")


def _host_and_port(given: Any) -> tuple[Any, Any]:
    if isinstance(given, str):
        # Of an IPv6 address in brackets, the colons are not those of the port.
        parts = split_url(f"//{given}")
        return (parts.hostname, parts.port) if parts else (None, None)
    if isinstance(given, Mapping):
        return given.get("host"), given.get("port")
    if isinstance(given, list | tuple) and len(given) == 2:
        return given[0], given[1]
    return None, None
