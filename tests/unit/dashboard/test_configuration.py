"""The list of settings: where each comes from, and no secret in it."""

from __future__ import annotations

from typing import Any

import pytest

from django_q import __version__
from django_q.dashboard.configuration import list_settings
from django_q.masking import mask


def test_settings_with_their_origin(settings: Any) -> None:
    settings.Q_CLUSTER = {"name": "shop", "orm": "default", "compress": True}

    lines = list(list_settings({}))

    assert lines[0] == f"VERSION: {__version__}"
    assert "PREFIX: shop  # Q_CLUSTER" in lines
    assert "COMPRESSED: True  # Q_CLUSTER" in lines
    assert "SAVE_LIMIT: 250  # default" in lines
    absent = ("MONGO:", "BROKER_CLASS:", "BULK:", "QUEUE_LIMIT:")
    assert not any(line.startswith(absent) for line in lines)


def test_limits_are_listed_where_they_are_set(q_settings: Any) -> None:
    q_settings(bulk=7, queue_limit=0)

    lines = list(list_settings({}))

    assert {"BULK: 7  # Q_CLUSTER", "QUEUE_LIMIT: 0  # Q_CLUSTER"} <= set(lines)


def test_alternative_cluster_comes_from_the_environment(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("Q_CLUSTER_NAME", "long")
    settings.Q_CLUSTER = {"name": "shop", "ALT_CLUSTERS": {"long": {"timeout": 900}}}

    lines = list(list_settings({"Q_CLUSTER_NAME": "long"}))

    assert "CLUSTER_NAME: long  # environment" in lines
    assert "TIMEOUT: 900  # Q_CLUSTER" in lines


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DISQUE_AUTH", "geheim"),
        ("SQS", {"aws_region": "eu", "secret_access_key": "geheim"}),
        ("IRON_MQ", {"host": "mq", "token": "geheim"}),
        ("REDIS", {"host": "mq", "password": "geheim"}),
        ("REDIS", "redis://:geheim@cache.internal:6379/0"),
        ("REDIS", "redis://cache.internal:6379/0?password=geheim&db=1"),
        ("MONGO", {"host": "mongodb://user:geheim@db.internal"}),
        ("ERROR_REPORTER", {"sentry": {"dsn": "https://geheim@sentry.test/1"}}),
        ("DISQUE_NODES", ["disque://:geheim@a:7711"]),
    ],
)
def test_secrets_are_masked(name: str, value: Any) -> None:
    shown = str(mask(name, value))

    assert "geheim" not in shown
    assert "********" in shown


def test_what_is_no_secret_stays() -> None:
    assert mask("REDIS", "redis://cache.internal:6379/0") == (
        "redis://cache.internal:6379/0"
    )
    assert mask("SQS", {"aws_region": "eu"}) == {"aws_region": "eu"}
    assert mask("DISQUE_AUTH", "") == ""
    assert mask("RETRY", 60) == 60
