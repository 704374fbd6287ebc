"""The HTTP interface of IronMQ, version 3: requests, their answers, and refusals."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from time import monotonic, sleep
from typing import Any, Final
from urllib.parse import quote

from django_q.brokers.advice import about_certificate
from django_q.brokers.registry import USE_THE_DATABASE
from django_q.exceptions import BrokerError, BrokerUnavailable, ConfigurationError
from django_q.logs import clean

HOST: Final = "mq-aws-us-east-1-1.iron.io"

ANSWERS_WITHIN: Final = 10.0
"""Seconds after which a server that says nothing is given up."""

LONGEST_IDLE: Final = 5.0
"""Seconds after which a connection is not trusted any more: servers close idle ones."""

BUSY: Final = 503

PAUSES: Final = (0.2, 0.4, 0.8)
"""Seconds before each repetition of what the server was too busy for."""

HINTS: Final = {
    400: "Check that the queue is a pull queue.",
    401: "Check 'token' in Q_CLUSTER['iron_mq'], and that it is one for version 3.",
    403: "Check that the token in Q_CLUSTER['iron_mq'] may use the project 'project_id'.",
    404: "Check 'project_id' and 'host' in Q_CLUSTER['iron_mq'].",
}


class Refused(BrokerError):
    """IronMQ refused a request."""

    status = 0
    reason = ""


class Iron:
    """A client with one connection, which is kept. Threads take turns."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        facts = {**in_environment(), **{k: v for k, v in settings.items() if v}}
        missing = [key for key in ("token", "project_id") if not facts.get(key)]
        if missing:
            message = f"Q_CLUSTER['iron_mq'] lacks {' and '.join(map(repr, missing))}."
            raise ConfigurationError(message)
        self.host = str(facts.get("host", HOST))
        self.is_secure = facts.get("protocol", "https") != "http"
        self.port = int(facts.get("port", 443 if self.is_secure else 80))
        self._base = f"/3/projects/{quote(str(facts['project_id']), safe='')}"
        self._headers = {
            "Authorization": f"OAuth {facts['token']}",
            "Content-Type": "application/json",
            "User-Agent": "django-q3",
        }
        self._lock = threading.Lock()
        self._line: HTTPConnection | None = None
        self._used = 0.0

    def ask(
        self, verb: str, path: str, body: Any = None, *, again: bool = True
    ) -> dict[str, Any]:
        """What the server answers; raises Refused, or BrokerUnavailable.

        `again`: the request does no harm when its answer was lost and it is repeated.
        """
        with self._lock:
            status, said = self._try(verb, path, body, again=again)
            for pause in PAUSES:
                if status != BUSY:
                    break
                sleep(pause)
                status, said = self._try(verb, path, body, again=again)
        if status >= 500:
            raise self._unavailable(f"{status} {clean(said.get('msg', ''))}".strip())
        if status >= 400:
            raise self._refused(status, said)
        return said

    def __del__(self) -> None:
        if hasattr(self, "_line"):
            self.close()

    def close(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.close()

    def _try(
        self, verb: str, path: str, body: Any, *, again: bool
    ) -> tuple[int, dict[str, Any]]:
        if monotonic() - self._used > LONGEST_IDLE:
            self.close()
        try:
            return self._exchange(verb, path, body)
        except (OSError, HTTPException) as error:
            was_kept, reason = self._line is not None, error
            self.close()
        if not (again and was_kept):
            raise self._unavailable(reason_of(reason)) from reason
        try:
            return self._exchange(verb, path, body)
        except (OSError, HTTPException) as error:
            self.close()
            raise self._unavailable(reason_of(error)) from error

    def _exchange(self, verb: str, path: str, body: Any) -> tuple[int, dict[str, Any]]:
        line = self._line
        if line is None:
            kind = HTTPSConnection if self.is_secure else HTTPConnection
            line = kind(self.host, self.port, timeout=ANSWERS_WITHIN)
            line.connect()
            self._line = line
        data = None if body is None else json.dumps(body).encode()
        line.request(verb, self._base + path, data, self._headers)
        with line.getresponse() as answer:
            text = answer.read()
        self._used = monotonic()
        return answer.status, understood(text)

    def _unavailable(self, reason: str) -> BrokerUnavailable:
        message = (
            f"Can't reach the IronMQ broker at {self.host}:{self.port} ({reason})."
        )
        hint = about_certificate(reason) or "Check 'host' in Q_CLUSTER['iron_mq']."
        hint = f"{hint} {USE_THE_DATABASE}"
        return BrokerUnavailable(message, hint=hint)

    def _refused(self, status: int, said: Mapping[str, Any]) -> Refused:
        reason = clean(said.get("msg", "")) or "no reason given"
        message = f"IronMQ at {self.host} refuses ({status}): {reason}."
        error = Refused(message, hint=HINTS.get(status, ""))
        error.status, error.reason = status, reason
        return error


def in_environment() -> dict[str, str]:
    """What the clients of IronMQ read from the environment when they are not told."""
    found = {}
    for key in ("host", "token", "project_id", "protocol", "port"):
        for prefix in ("IRON_", "IRON_MQ_"):
            value = os.environ.get(prefix + key.upper())
            if value:
                found[key] = value
    return found


def understood(text: bytes) -> dict[str, Any]:
    """The object in an answer; what is between us and the server may say anything."""
    try:
        said = json.loads(text or b"{}")
    except ValueError:
        said = {"msg": text[:100].decode(errors="replace")}
    return said if isinstance(said, dict) else {}


def reason_of(error: Exception) -> str:
    """Why, in a few words: those of the system where it has some."""
    if isinstance(error, OSError) and error.strerror:
        return clean(error.strerror).lower()
    return clean(error) or type(error).__name__
