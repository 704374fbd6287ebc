"""The system checks, word for word; and that good settings get none."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import CheckMessage, Error, run_checks
from django.core.checks import Warning as WarningMessage
from django.utils.translation import gettext_lazy

from django_q.brokers import Broker
from django_q.checks import (
    Site,
    check_deployment,
    check_settings,
    find_problems,
    find_risks,
)
from django_q.conf import load_options
from django_q.options import Options

SQLITE = {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}
LOCAL_CACHE = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
LONG_KEY = "kD4-0fYbq_9Zr7TnVw2XsLmPc5GhJt8RuEaWiOyQx3Cv6Bz1N"


class Leasing(Broker):
    """A broker of a project's own that keeps leases alive."""

    supports_leases = True


class Plain(Broker):
    """A broker of a project's own that can't."""

    supports_receipts = True


def site(raw: Any = None, **given: Any) -> Site:
    settings: dict[str, Any] = {
        "databases": {"default": SQLITE, "replica": SQLITE},
        "caches": {"default": LOCAL_CACHE},
        "logging": {},
        "secret_key": LONG_KEY + "!?",
    }
    return Site(raw={} if raw is None else raw, **(settings | given))


def said(messages: list[CheckMessage]) -> list[tuple[str, str, str]]:
    return [(m.id or "", m.msg, m.hint or "") for m in messages]


def problems(raw: Any, **given: Any) -> list[tuple[str, str, str]]:
    return said(find_problems(site(raw, **given)))


def risks(raw: Any, **given: Any) -> list[tuple[str, str, str]]:
    return said(find_risks(site({"timeout": 60} | raw, **given)))


# -- silence


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"name": "shop", "orm": "default"},
        {"name": "shop", "redis": "redis://127.0.0.1:6379/0"},
        {"sqs": {}},
        {"name": "shop", "label": gettext_lazy("Jobs"), "orm": "default"},
        {"workers": 0, "timeout": None, "retry": 0, "redis": {}, "orm": None},
        {"timeout": 90, "retry": 60, "orm": "default"},
        {"timeout": 0.5, "guard_cycle": 0.1, "workers": 4.0, "max_rss": 100.5},
        {"log_level": 10, "save_limit": -1, "cached": 60, "cache": "default"}
        | {"cached": 0},
        {"error_reporter": {"sentry": {"dsn": "https://key@sentry.test/1"}}},
        {"ALT_CLUSTERS": {"long": {"timeout": 3600, "retry": 4000}}},
    ],
)
def test_good_settings_get_no_message(raw: Any) -> None:
    assert problems(raw) == []


def test_settings_that_older_releases_took_get_no_error() -> None:
    raw = {
        "sync": "no",
        "save_limit_per": "colour",
        "log_level": "info",
        "sentinel": {"own": "key"},
        "has_replica": True,
        "orm": "default",
        "mongo": {"host": "127.0.0.1"},
        "save_limit": 0,
        "queue_limit": -1,
        "timeout": -1,
    }

    levels = {type(message) for message in find_problems(site(raw))}

    assert levels == {WarningMessage}


def test_settings_of_these_tests_pass_check() -> None:
    own = [m for m in run_checks() if str(m.id).startswith("django_q.")]

    assert own == []


def test_missing_q_cluster_passes(settings: Any) -> None:
    del settings.Q_CLUSTER

    assert check_settings() == []


# -- names and types


@pytest.mark.parametrize("raw", [["orm"], "orm", 5])
def test_q_cluster_is_not_a_dictionary(raw: Any) -> None:
    hint = 'Write Q_CLUSTER = {"name": "shop", "orm": "default"}.'

    assert problems(raw) == [("django_q.E001", "Q_CLUSTER must be a dictionary.", hint)]
    assert isinstance(find_problems(site(raw))[0], Error)


def test_misspelt_setting() -> None:
    message = "Q_CLUSTER has no setting 'time_out'. Did you mean 'timeout'?"
    hint = "Rename the key, or remove it. It is ignored."

    assert problems({"time_out": 5}) == [("django_q.W001", message, hint)]


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("WORKERS", "workers"), ("alt_clusters", "ALT_CLUSTERS"), ("retrys", "retry")],
)
def test_suggestion_for_a_misspelt_setting(wrong: str, right: str) -> None:
    [(_number, message, _hint)] = problems({wrong: 0})

    assert message == f"Q_CLUSTER has no setting {wrong!r}. Did you mean {right!r}?"


def test_unknown_setting() -> None:
    message = "Q_CLUSTER has no setting 'foo'. It is ignored."
    hint = "See the list of settings: python manage.py qinfo --config"

    assert problems({"foo": 1}) == [("django_q.W002", message, hint)]


def test_number_written_as_text() -> None:
    message = "Q_CLUSTER['workers'] must be a whole number from 1 up, not '4 '."

    assert problems({"workers": "4 "}) == [
        ("django_q.E003", message, "Write 'workers': 4.")
    ]


@pytest.mark.parametrize(
    ("raw", "words", "hint"),
    [
        ({"workers": -1}, "a whole number from 1 up, not -1", "Write 'workers': 4."),
        (
            {"timeout": math.inf},
            "a number of seconds, not inf",
            "Write 'timeout': 300.",
        ),
        ({"timeout": "1m"}, "a number of seconds, not '1m'", "Write 'timeout': 300."),
        ({"retry": [60]}, "a number of seconds, not [60]", "Write 'retry': 60."),
        ({"orm": True}, "text, not True", "Write 'orm': 'default'."),
        ({"max_rss": "1G"}, "a number of kilobytes, not '1G'", "Correct it"),
        ({"mongo": "localhost"}, "a dictionary, not 'localhost'", "Correct it"),
        (
            {"redis": 6379},
            "a URL, a dictionary or a client, not 6379",
            "Write 'redis': 'redis:",
        ),
        ({"disque_nodes": "a:1"}, "a list, not 'a:1'", "Write 'disque_nodes': ["),
        ({"ALT_CLUSTERS": ["long"]}, "a dictionary, not ['long']", "Write 'ALT_CLUST"),
        ({"recycle": "a" * 99}, "a whole number, not 'aaaa", "Write 'recycle': 500."),
    ],
)
def test_wrong_type(raw: dict[str, Any], words: str, hint: str) -> None:
    [(number, message, advice)] = problems(raw)
    [key] = raw

    assert number == "django_q.E003"
    assert message.startswith(f"Q_CLUSTER[{key!r}] must be {words}")
    assert advice.startswith(hint)
    assert len(message) < 100


def test_start_method_that_this_system_lacks() -> None:
    [(number, message, _hint)] = problems({"start_method": "clone"})

    assert number == "django_q.E003"
    assert message.endswith(" or 'forkserver', not 'clone'.") or "'spawn'" in message


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"sync": "False"}, "Q_CLUSTER['sync'] must be True or False, not 'False'."),
        (
            {"save_limit_per": "colour"},
            (
                "Q_CLUSTER['save_limit_per'] must be 'group', 'name' or 'func', "
                "not 'colour'."
            ),
        ),
        (
            {"log_level": "LOUD"},
            "Q_CLUSTER['log_level'] must be a level like 'INFO', not 'LOUD'.",
        ),
    ],
)
def test_value_that_older_releases_let_pass(raw: Any, words: str) -> None:
    [(number, message, _hint)] = problems(raw)

    assert (number, message) == ("django_q.W016", words)


@pytest.mark.parametrize("key", ["retry_delay", "timeout", "poll", "bulk"])
def test_less_than_nothing_means_the_default(key: str) -> None:
    words = f"Q_CLUSTER['{key}'] must be 0 or more, not -1."

    assert problems({key: -1}) == [
        ("django_q.W016", words, "Correct it. The default is used.")
    ]
    assert load_options({key: -1}, {}) == Options()
    assert problems({"save_limit": -1, "recycle": -1}) == []


def test_alternative_clusters_are_judged_too() -> None:
    raw = {"ALT_CLUSTERS": {"long": {"time_out": 5, "workers": "2"}, "odd": 7}}

    assert [(number, message) for number, message, _hint in problems(raw)] == [
        (
            "django_q.W001",
            (
                "Q_CLUSTER['ALT_CLUSTERS']['long'] has no setting 'time_out'. "
                "Did you mean 'timeout'?"
            ),
        ),
        (
            "django_q.E003",
            (
                "Q_CLUSTER['ALT_CLUSTERS']['long']['workers'] must be "
                "a whole number from 1 up, not '2'."
            ),
        ),
        ("django_q.E003", "Q_CLUSTER['ALT_CLUSTERS']['odd'] must be a dictionary."),
    ]


# -- brokers


def test_two_brokers() -> None:
    message = "Q_CLUSTER names two brokers: 'orm' and 'redis'. 'orm' is used."

    assert problems({"redis": {"host": "a"}, "orm": "default"}) == [
        ("django_q.W013", message, "Keep one of them.")
    ]


def test_three_brokers() -> None:
    raw = {"sqs": {}, "orm": "default", "django_redis": "default", "redis": "r://"}
    message = "names 3 brokers: 'sqs', 'orm' and 'django_redis'. 'sqs' is used."

    [(number, said_of_them, _hint), *_] = problems(raw)

    assert (number, said_of_them) == ("django_q.W013", f"Q_CLUSTER {message}")


def test_two_ways_to_redis() -> None:
    way = {"redis": "redis://127.0.0.1:6379/0", "django_redis": "default"}
    message = "Q_CLUSTER['redis'] and 'django_redis' are both set: the second is used."

    assert problems(way) == [("django_q.W015", message, "Keep one of them.")]


@pytest.mark.parametrize("raw", [{"redis": {"host": "a"}}, {"django_redis": "default"}])
def test_client_library_that_is_not_installed(
    raw: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    message = "The Redis broker needs the package 'redis', which is not installed."
    hint = 'Run: python -m pip install "django-q3[redis]"'

    assert problems(raw) == [("django_q.E006", message, hint)]


@pytest.mark.parametrize(
    "raw", [{}, {"redis": {}}, {"orm": "default", "redis": "r://"}]
)
def test_client_library_is_no_matter_where_no_setting_asks_for_it(
    raw: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)

    assert "django_q.E006" not in [number for number, _message, _hint in problems(raw)]


@pytest.mark.parametrize("way", ["redis://[::1", "redis://:pa/ss@cache/0"])
def test_malformed_url_of_redis(way: str) -> None:
    message = "Q_CLUSTER['redis'] is not a valid URL."
    hint = "Write it like redis://localhost:6379/0. In a password, quote what is special in URLs."
    assert problems({"save_limit": 9, "redis": way}) == [
        ("django_q.E006", message, hint)
    ]
    assert risks({"redis": way}) == []


def test_malformed_url_of_a_redis_cache_is_no_traceback() -> None:
    caches = {"default": LOCAL_CACHE | {"LOCATION": "redis://[::1"}}
    assert risks({"django_redis": "default"}, caches=caches) == []


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package of somebody's own that can be imported meanwhile."""
    package = tmp_path / "qtest_shop"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "broker.py").write_text("class Mine: pass\n")
    (package / "broken.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize(
    ("path", "reason"),
    [
        (
            "qtest_shop.brokers.My",
            "No module named 'qtest_shop.brokers'. Did you mean 'qtest_shop.broker'?",
        ),
        ("qtest_sho.My", "No module named 'qtest_sho'."),
        (
            "qtest_shop.broker.My",
            'Module "qtest_shop.broker" does not define a "My" attribute/class',
        ),
        ("qtest_shop.broken.My", "ZeroDivisionError: division by zero"),
        ("My", "My doesn't look like a module path"),
    ],
)
def test_broker_class_that_cannot_be_imported(path: str, reason: str) -> None:
    message = f"Q_CLUSTER['broker_class'] {path!r} cannot be imported."

    assert problems({"broker_class": path}) == [("django_q.E007", message, reason)]


def test_retry_too_short_for_a_broker_that_cannot_renew() -> None:
    raw = {"broker_class": f"{__name__}.Plain", "timeout": 90, "retry": 60}
    message = "Q_CLUSTER['retry'] (60) should be longer than 'timeout' (90)."
    hint = "Set 'retry' to 150 or more, or tasks that take longer than 60 s run twice."

    assert problems(raw) == [("django_q.W012", message, hint)]


def test_tasks_without_a_time_limit_on_a_broker_that_cannot_renew() -> None:
    raw = {"broker_class": f"{__name__}.Plain", "retry": 60}
    message = (
        "Q_CLUSTER['retry'] (60) should be longer than 'timeout', which is not set."
    )
    hint = "Set 'timeout' to less than 'retry', or tasks that take longer than 60 s run"
    assert problems(raw) == [("django_q.W012", message, f"{hint} twice.")]


@pytest.mark.parametrize(
    "raw",
    [
        {"broker_class": f"{__name__}.Leasing", "timeout": 90, "retry": 60},
        {"broker_class": f"{__name__}.Plain", "timeout": 50, "retry": 60},
        {"orm": "default", "timeout": 90, "retry": 60},
    ],
)
def test_retry_is_no_matter_elsewhere(raw: dict[str, Any]) -> None:
    assert problems(raw) == []


def test_database_that_does_not_exist() -> None:
    message = "Q_CLUSTER['orm'] names the database 'queue', which DATABASES lacks."
    hint = "Known databases: default, replica."

    assert problems({"orm": "queue"}) == [("django_q.E008", message, hint)]


# -- the rest


@pytest.mark.parametrize(
    ("zone", "hint"),
    [
        ("Europe/Berln", "Did you mean 'Europe/Berlin'?"),
        ("Nowhere", "Write one like 'Europe/Berlin'."),
        ("../../etc/passwd", "Write one like 'Europe/Berlin'."),
        ("Europe", "Did you mean 'Europe/Rome'?"),
    ],
)
def test_time_zone_that_does_not_exist(zone: str, hint: str) -> None:
    message = f"Q_CLUSTER['time_zone'] {zone!r} is not a time zone."

    assert problems({"time_zone": zone}) == [("django_q.E012", message, hint)]


@pytest.mark.parametrize(
    ("raw", "place"),
    [
        ({}, "the queue is in no database"),
        ({"redis": {}}, "the queue is in no database"),
        ({"orm": "replica"}, "the queue is in 'replica'"),
        (
            {"broker_class": f"{__name__}.Leasing"},
            f"'{__name__}.Leasing' is no broker for that",
        ),
    ],
)
def test_atomic_tasks_with_a_queue_elsewhere(raw: dict[str, Any], place: str) -> None:
    message = "Q_CLUSTER['atomic'] needs the queue in the database of the results"
    hint = "Set 'orm' to 'default' for this queue, or remove 'atomic'."
    expected = ("django_q.E013", f"{message}, 'default', but {place}.", hint)
    assert problems({"atomic": True, **raw}) == [expected]


def test_atomic_tasks_of_an_alternative_cluster() -> None:
    raw = {"orm": "default", "ALT_CLUSTERS": {"away": {"atomic": True, "orm": None}}}
    assert [number for number, *_ in problems(raw)] == ["django_q.E013"]


def test_atomic_tasks_with_their_queue_beside_them() -> None:
    assert problems({"atomic": True, "orm": "default"}) == []
    own = {"atomic": True, "broker_class": "django_q.brokers.orm.ORM"}
    assert problems(own) == []


def test_cached_results_in_a_private_cache() -> None:
    message = "Cached results go to cache 'default', private to each process."
    hint = (
        "Use a shared cache; nobody else sees cached results and iterables otherwise."
    )

    assert problems({"cached": True}) == [("django_q.W003", message, hint)]
    shared = {"default": {"BACKEND": "django.core.cache.backends.db.DatabaseCache"}}
    assert problems({"cached": True}, caches=shared) == []


def test_logger_under_the_name_of_the_package() -> None:
    message = "LOGGING configures 'django_q', but the logger is named 'django-q'."

    wrong: dict[str, Any] = {"loggers": {"django_q": {}}}
    assert problems({}, logging=wrong) == [("django_q.W009", message, "Rename it.")]
    both: dict[str, Any] = {"loggers": {"django_q": {}, "django-q": {}}}
    assert problems({}, logging=both) == []


def test_successes_are_kept_for_ever() -> None:
    message = "Q_CLUSTER['save_limit'] is 0: finished tasks are kept forever."
    hint = "Set 'save_limit' to the number of successes to keep, for example 250."

    assert problems({"save_limit": 0}) == [("django_q.W010", message, hint)]


# -- deployment


def test_good_deployment_gets_no_message() -> None:
    immediate = {"default": SQLITE | {"OPTIONS": {"transaction_mode": "immediate"}}}

    assert risks({"orm": "default"}, databases=immediate) == []


def test_sqlite_with_default_locking() -> None:
    message = "SQLite database 'default' is used as broker with default locking."
    hint = (
        'Set OPTIONS: {"transaction_mode": "IMMEDIATE", "timeout": 20} and WAL, '
        "see docs."
    )

    assert risks({"orm": "default"}) == [("django_q.W004", message, hint)]


MYSQL = "django.db.backends.mysql"
COMMITTED_BY_COMMAND = "SET SESSION tx_isolation = 'READ-COMMITTED'"


@pytest.mark.parametrize("level", ["repeatable read", "SERIALIZABLE", None])
def test_isolation_level_that_makes_deadlocks(level: str | None) -> None:
    database = {"ENGINE": MYSQL, "OPTIONS": {"isolation_level": level}}
    message = f"Database 'default' is used as broker with isolation level {level!r}."
    hint = 'Set OPTIONS: {"isolation_level": "read committed"}, or expect deadlocks.'

    found = problems({"orm": "default"}, databases={"default": database})
    assert found == [("django_q.W018", message, hint)]
    assert problems({}, databases={"default": database}) == []


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"isolation_level": "READ COMMITTED"},
        {"isolation_level": None, "init_command": COMMITTED_BY_COMMAND},
    ],
    ids=str,
)
def test_isolation_level_of_a_good_queue(options: dict[str, Any]) -> None:
    database = {"ENGINE": MYSQL, "OPTIONS": options}
    assert problems({"orm": "default"}, databases={"default": database}) == []


@pytest.mark.parametrize("key", ["short", "a" * 60, "django-insecure-" + LONG_KEY])
def test_weak_secret_key(key: str) -> None:
    message = "SECRET_KEY is weak and also protects task packages."
    hint = "Anyone who guesses it can run code on your workers. Set a long random key."

    assert risks({}, secret_key=key) == [("django_q.W005", message, hint)]


REMOTE_CACHE = {
    "BACKEND": "django_redis.cache.RedisCache",
    "LOCATION": "redis://cache:6379",
}


@pytest.mark.parametrize(
    ("raw", "caches"),
    [
        ({"redis": "redis://cache.internal:6379/0"}, {}),
        ({"redis": {"host": "10.0.0.7"}}, {}),
        ({"redis": {"host": "::2"}}, {}),
        ({"django_redis": "default"}, {"default": REMOTE_CACHE}),
    ],
)
def test_open_server_on_another_host(
    raw: dict[str, Any], caches: dict[str, Any]
) -> None:
    message = "Task packages travel to the broker without TLS or password."
    hint = "Use rediss:// and a password, or keep the broker on a private network."

    assert risks(raw, caches=caches) == [("django_q.W006", message, hint)]


@pytest.mark.parametrize(
    ("raw", "caches"),
    [
        ({}, {}),
        ({"redis": {"db": 3}}, {}),
        ({"redis": {"host": "127.0.0.1"}}, {}),
        ({"redis": {"unix_socket_path": "/run/redis.sock"}}, {}),
        ({"redis": {"host": "cache.internal", "password": "x"}}, {}),
        ({"redis": {"host": "cache.internal", "ssl": True}}, {}),
        ({"redis": "unix:///run/redis.sock"}, {}),
        ({"redis": "redis://localhost/1"}, {}),
        ({"redis": "redis://:geheim@cache.internal/1"}, {}),
        ({"redis": "redis://cache.internal/1?password=geheim"}, {}),
        ({"redis": "rediss://cache.internal/1"}, {}),
        ({"orm": "default", "redis": "redis://cache.internal/1"}, {}),
        ({"django_redis": "default"}, {}),
        (
            {"django_redis": "default"},
            {"default": REMOTE_CACHE | {"OPTIONS": {"PASSWORD": "geheim"}}},
        ),
        (
            {"django_redis": "default"},
            {"default": REMOTE_CACHE | {"LOCATION": ["redis://a", "redis://b"]}},
        ),
    ],
)
def test_server_that_is_guarded_or_near(
    raw: dict[str, Any], caches: dict[str, Any]
) -> None:
    assert "django_q.W006" not in [number for number, *_ in risks(raw, caches=caches)]


def test_sync_in_production() -> None:
    message = "Q_CLUSTER['sync'] is True: tasks run inside requests."
    hint = "Remove 'sync' from production settings."

    assert risks({"sync": True}) == [("django_q.W007", message, hint)]


def test_no_timeout_in_production() -> None:
    message = (
        "Q_CLUSTER['timeout'] is not set, so a stuck task blocks a worker forever."
    )

    assert risks({"timeout": 0}) == [
        ("django_q.W008", message, "Set 'timeout', for example 300.")
    ]


def test_checks_read_the_settings(settings: Any) -> None:
    settings.Q_CLUSTER = {"orm": "queue", "sync": True}
    settings.SECRET_KEY = "short"

    assert [m.id for m in check_settings()] == ["django_q.E008"]
    ids = [m.id for m in check_deployment()]
    assert ids == ["django_q.W005", "django_q.W007", "django_q.W008"]


def test_messages_fit_a_line() -> None:
    raw = {"time_out": 5, "foo": 1, "workers": "4 ", "orm": "queue", "save_limit": 0}

    for message in find_problems(site(raw)) + find_risks(site({"sync": True})):
        assert len(message.msg) < 80
        assert "\n" not in (message.hint or "")
