"""System checks of clusters whose settings choose a broker of their own."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from tests.unit.test_checks import problems, risks

WHERE = "Q_CLUSTER['ALT_CLUSTERS']['reports']"


def told(overrides: Any, **base: Any) -> list[tuple[str, str, str]]:
    """What is wrong when the reports are to differ in this."""
    return problems({"orm": "default", "ALT_CLUSTERS": {"reports": overrides}} | base)


@pytest.mark.parametrize(
    "overrides",
    [
        {"orm": None, "redis": {"host": "127.0.0.1"}},
        {"orm": None, "redis": "redis://127.0.0.1:6379/0"},
        {"sqs": {}},
        {"broker_class": "django_q.brokers.memory.Memory"},
        {"orm": "default"},
        {"cache": "default"},
    ],
)
def test_brokers_that_can_be_used(overrides: Any) -> None:
    assert told(overrides) == []


def test_broker_that_is_named_in_vain() -> None:
    message = f"{WHERE} names 'redis', but 'orm' of Q_CLUSTER is used."
    hint = "Write 'orm': None beside it."
    assert told({"redis": {"host": "a"}}) == [("django_q.W013", message, hint)]


def test_two_brokers_at_once() -> None:
    message = f"{WHERE} names two brokers: 'orm' and 'mongo'. 'orm' is used."
    (found,) = told({"orm": "default", "mongo": {"host": "a"}})
    assert found[:2] == ("django_q.W013", message)


def test_client_library_that_is_not_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    (found,) = told({"sqs": {"aws_region": "eu-central-1"}})
    needs = "The Amazon SQS broker needs the package 'boto3', which is not installed."
    assert found == (
        "django_q.E006",
        f"{WHERE}: {needs}",
        'Run: python -m pip install "django-q3[sqs]"',
    )


def test_address_that_is_none() -> None:
    (found,) = told({"orm": None, "redis": "redis://[::1"})
    assert found[:2] == ("django_q.E006", f"{WHERE}['redis'] is not a valid URL.")


def test_two_ways_to_redis() -> None:
    ways = {"redis": {"host": "a"}, "django_redis": "default"}
    text = f"{WHERE}['redis'] and 'django_redis' are both set: the second is used."
    (found,) = told({"orm": None} | ways)
    assert found[:2] == ("django_q.W015", text)


def test_way_to_redis_that_is_not_taken() -> None:
    (found,) = told({"redis": {"host": "a"}}, orm=None, django_redis="default")
    message = f"{WHERE} names 'redis', but 'django_redis' of Q_CLUSTER is used."
    assert found[:2] == ("django_q.W013", message)


def test_class_that_cannot_be_imported() -> None:
    (found,) = told({"broker_class": "shop.brokers.Own"})
    text = f"{WHERE}['broker_class'] 'shop.brokers.Own' cannot be imported."
    assert found[:2] == ("django_q.E007", text)


def test_retry_of_the_base_that_is_too_short_for_its_broker() -> None:
    own = "tests.unit.test_checks.Plain"
    (found,) = told({"broker_class": own}, retry=60, timeout=90)
    text = f"{WHERE}['retry'] (60) should be longer than 'timeout' (90)."
    assert found[:2] == ("django_q.W012", text)


def test_database_that_does_not_exist() -> None:
    (found,) = told({"orm": "queue"})
    text = f"{WHERE}['orm'] names the database 'queue', which DATABASES lacks."
    assert found[:2] == ("django_q.E008", text)


def test_faults_of_the_base_are_told_once() -> None:
    base = {"orm": "queue", "ALT_CLUSTERS": {"reports": {"timeout": 900}}}
    assert [number for number, *_ in problems(base)] == ["django_q.E008"]


def test_server_that_anybody_may_listen_to() -> None:
    overrides = {"orm": None, "redis": "redis://broker.internal:6379/0"}
    raw = {"orm": None, "redis": {}, "ALT_CLUSTERS": {"reports": overrides}}
    text = f"{WHERE}: Task packages travel to the broker without TLS or password."
    assert [found[:2] for found in risks(raw)] == [("django_q.W006", text)]
