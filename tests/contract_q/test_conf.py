"""Conf: the settings in capitals; what is assigned to it at run time counts."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from datetime import datetime
from typing import Any
from unittest import mock

import pytest
from django.core.cache import caches
from django.core.signing import BadSignature
from django.test import override_settings
from django.utils.translation import override

from django_q import clock, conf
from django_q.brokers import get_broker
from django_q.brokers.memory import Memory
from django_q.brokers.orm import ORM
from django_q.brokers.redis_broker import Redis
from django_q.cluster import Cluster
from django_q.cluster.entrance import prepare
from django_q.conf import Conf, get_options
from django_q.exceptions import ConfigurationError
from django_q.models import Failure, OrmQ, Schedule, Success
from django_q.options import Options
from django_q.signing import SignedPackage
from django_q.tasks import async_task, result
from tests import functions

MEMORY = "django_q.brokers.memory.Memory"

OPTION_OF = {
    "PREFIX": "name",
    "COMPRESSED": "compress",
}

SAMPLES: dict[str, Any] = {
    "PREFIX": "shop",
    "CLUSTER_NAME": "mail",
    "WORKERS": 7,
    "DAEMONIZE_WORKERS": False,
    "RECYCLE": 3,
    "MAX_RSS": 100_000,
    "TIMEOUT": 1.5,
    "RETRY": 17,
    "ACK_FAILURES": True,
    "MAX_ATTEMPTS": 4,
    "COMPRESSED": True,
    "SAVE_LIMIT": -1,
    "SAVE_LIMIT_PER": "group",
    "GUARD_CYCLE": 0.25,
    "SCHEDULER": False,
    "SYNC": True,
    "QUEUE_LIMIT": 9,
    "BULK": 8,
    "POLL": 0.7,
    "LABEL": "Background",
    "CATCH_UP": False,
    "CPU_AFFINITY": 1,
    "LOG_LEVEL": "DEBUG",
    "CACHE": "other",
    "CACHED": 30,
    "TIME_ZONE": "Asia/Tokyo",
    "ERROR_REPORTER": {"sentry": {}},
    "TESTING": True,
    "BROKER_CLASS": MEMORY,
    "IRON_MQ": {"host": "mq"},
    "SQS": {},
    "ORM": "queue",
    "MONGO": {"host": "db"},
    "MONGO_DB": "tasks",
    "REDIS": "redis://cache/0",
    "DJANGO_REDIS": "default",
    "DISQUE_NODES": ["a:7711"],
    "DISQUE_AUTH": "secret",
    "DISQUE_FASTACK": True,
}
"""Each name that the earlier releases had, with a value that is not the default."""


@pytest.fixture(autouse=True)
def clean_conf() -> Iterator[None]:
    yield
    for name in Conf.assigned:
        delattr(Conf, name)


# -- names and values


@pytest.mark.parametrize("name", SAMPLES)
def test_every_name_can_be_read_assigned_and_given_back(name: str) -> None:
    option = OPTION_OF.get(name, name.lower())
    usual, usual_option = getattr(Conf, name), getattr(get_options(), option)
    setattr(Conf, name, SAMPLES[name])
    assert getattr(Conf, name) == SAMPLES[name]
    assert getattr(get_options(), option) == SAMPLES[name]
    delattr(Conf, name)
    assert getattr(Conf, name) == usual
    assert getattr(get_options(), option) == usual_option


def test_every_setting_has_a_name() -> None:
    names = {value: key for key, value in OPTION_OF.items()}
    for option in fields(Options):
        getattr(Conf, names.get(option.name, option.name.upper()))


def test_names_that_are_none_raise() -> None:
    for name in ("NO_SUCH", "workers", "NAME_"):
        with pytest.raises(AttributeError, match=name):
            getattr(Conf, name)


def test_derived_names(settings: Any) -> None:
    settings.Q_CLUSTER = {"name": "shop"}
    assert Conf.Q_STAT == "django_q:shop:cluster"
    assert Conf.CLUSTER_NAME == "shop"
    assert Conf.QSIZE is True
    assert Conf.REDIS == {}
    assert Conf.MAX_ATTEMPTS == 0
    assert Conf.ACK_FAILURES is False


def test_limits_that_set_themselves_are_numbers_for_those_who_calculate() -> None:
    """A broker of the earlier form slices with the one, or makes a queue of the other."""
    Conf.WORKERS = 3
    assert (Conf.BULK, Conf.QUEUE_LIMIT) == (1, 9)
    assert (get_options().bulk, get_options().queue_limit) == (None, None)
    Conf.BULK, Conf.QUEUE_LIMIT = 10, 0
    assert (Conf.BULK, Conf.QUEUE_LIMIT) == (10, 0)
    assert (get_options().bulk, get_options().queue_limit) == (10, 0)


def test_signal_names() -> None:
    assert Conf.SIGNAL_NAMES[signal.SIGTERM] == "SIGTERM"
    assert Conf.SIGNAL_NAMES[int(signal.SIGINT)] == "SIGINT"


def test_words_of_the_status_are_translated_when_they_are_shown() -> None:
    words = [Conf.STARTING, Conf.WORKING, Conf.IDLE, Conf.STOPPED, Conf.STOPPING]
    with override("en"):
        shown = [str(word) for word in words]
    assert shown == ["Starting", "Working", "Idle", "Stopped", "Stopping"]
    assert not any(isinstance(word, str) for word in words)


def test_without_a_secret_key_there_is_none(settings: Any) -> None:
    settings.SECRET_KEY = ""
    assert Conf.SECRET_KEY is None
    with pytest.raises(ConfigurationError, match="SECRET_KEY"):
        SignedPackage.dumps({})


# -- the dictionary in force


def test_conf_is_what_is_in_force(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.Q_CLUSTER = {"name": "shop", "ALT_CLUSTERS": {"long": {"timeout": 900}}}
    assert Conf.conf == settings.Q_CLUSTER
    monkeypatch.setenv("Q_CLUSTER_NAME", "long")
    assert Conf.conf == settings.Q_CLUSTER | {"cluster_name": "long", "timeout": 900}


def test_what_is_read_is_a_copy(settings: Any) -> None:
    before = dict(settings.Q_CLUSTER)
    Conf.conf["workers"] = 99
    assert before == settings.Q_CLUSTER
    assert Conf.WORKERS != 99


# -- assigning, and taking back


def test_nested_patches_restore_what_was_assigned_outside() -> None:
    Conf.SYNC = True
    with mock.patch.object(Conf, "SYNC", False):
        assert not get_options().sync
        with mock.patch.object(Conf, "SYNC", True):
            assert get_options().sync
        assert not get_options().sync
    assert Conf.SYNC is True
    assert get_options().sync


def test_a_patch_leaves_nothing_behind() -> None:
    with mock.patch.object(Conf, "TIMEOUT", 5), mock.patch.object(Conf, "WORKERS", 9):
        assert (get_options().timeout, get_options().worker_count) == (5, 9)
    assert Conf.assigned == {}


@pytest.mark.parametrize("name", SAMPLES)
def test_whoever_puts_the_former_value_back_assigns_nothing(name: str) -> None:
    """Else `override_settings` would have no effect in the tests that follow."""
    former = getattr(Conf, name)
    setattr(Conf, name, SAMPLES[name])
    setattr(Conf, name, former)
    assert Conf.assigned == {}


def test_an_assignment_beats_settings_that_change(settings: Any) -> None:
    Conf.TIMEOUT = 5
    with override_settings(Q_CLUSTER={"timeout": 9, "retry": 33}):
        assert (Conf.TIMEOUT, Conf.RETRY) == (5, 33)
        del Conf.TIMEOUT
        assert Conf.TIMEOUT == 9


def test_nothing_may_be_assigned_where_something_was_set(q_settings: Any) -> None:
    q_settings(timeout=9, broker_class=MEMORY)
    Conf.TIMEOUT = None
    Conf.BROKER_CLASS = None
    assert get_options().timeout is None
    assert isinstance(get_broker(), ORM)


def test_assigning_chooses_no_alternative_cluster(settings: Any) -> None:
    settings.Q_CLUSTER = {"ALT_CLUSTERS": {"long": {"timeout": 900}}}
    Conf.CLUSTER_NAME = "long"
    assert (get_options().queue, Conf.TIMEOUT) == ("long", None)


def test_a_child_obeys_what_is_assigned_in_it(q_settings: Any) -> None:
    q_settings(timeout=9)
    try:
        Conf.adopt(Options(name="shop", timeout=4, retry_delay=2.5), {})
        assert (Conf.PREFIX, Conf.TIMEOUT, Conf.RETRY_DELAY) == ("shop", 4, 2.5)
        Conf.TIMEOUT = None
        assert get_options().timeout is None
    finally:
        vars(Conf).update(_adopted=None, _adopted_others=None)
        Conf.reload()


# -- the behaviour follows


def test_broker_class() -> None:
    assert isinstance(get_broker(), ORM)
    Conf.BROKER_CLASS = MEMORY
    assert isinstance(get_broker(), Memory)


def test_orm() -> None:
    Conf.ORM = None
    assert isinstance(get_broker(), Redis)
    Conf.ORM = "default"
    assert get_broker().database == "default"


@pytest.mark.django_db
def test_cluster_name_is_where_tasks_go() -> None:
    Conf.CLUSTER_NAME = "elsewhere"
    async_task("tests.functions.add", 1)
    assert list(OrmQ.objects.values_list("key", flat=True)) == ["elsewhere"]


@pytest.mark.django_db
def test_name_is_where_tasks_go_without_one() -> None:
    Conf.PREFIX = "site"
    async_task("tests.functions.add", 1)
    assert OrmQ.objects.get().key == "site"


def test_name_and_key_sign() -> None:
    package = SignedPackage.dumps({"id": 1})
    for name in ("PREFIX", "SECRET_KEY"):
        with mock.patch.object(Conf, name, "another"):
            own = SignedPackage.dumps({"id": 2})
            assert SignedPackage.loads(own) == {"id": 2}
            with pytest.raises(BadSignature):
                SignedPackage.loads(package)
        with pytest.raises(BadSignature):
            SignedPackage.loads(own)
    assert SignedPackage.loads(package) == {"id": 1}


def test_compressed() -> None:
    text = "a" * 1000
    assert not SignedPackage.dumps(text).startswith(".")
    Conf.COMPRESSED = True
    assert SignedPackage.dumps(text).startswith(".")


@pytest.mark.django_db
def test_sync_and_saving() -> None:
    Conf.SYNC = True
    Conf.SAVE_LIMIT = -1
    async_task(functions.add, 1)
    assert not Success.objects.exists()
    Conf.SAVE_LIMIT = 1
    async_task(functions.add, 2)
    async_task(functions.add, 3)
    assert [task.result for task in Success.objects.all()] == [3]


@pytest.mark.django_db
def test_save_limit_per() -> None:
    Conf.SYNC, Conf.SAVE_LIMIT, Conf.SAVE_LIMIT_PER = True, 1, "group"
    for group in ("a", "b", "a", "b"):
        async_task(functions.add, 1, group=group)
    kept = Success.objects.values_list("group", flat=True)
    assert sorted(str(group) for group in kept) == ["a", "b"]


@pytest.mark.django_db
def test_timeout() -> None:
    Conf.SYNC, Conf.TIMEOUT = True, 0.02
    with pytest.raises(SystemExit):
        async_task(functions.sleep, 5)
    assert "0.02 seconds" in Failure.objects.get().result


@override_settings(
    CACHES={
        alias: {
            "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
            "LOCATION": f"test_conf {alias}",
        }
        for alias in ("default", "other")
    }
)
def test_cache_and_cached() -> None:
    Conf.SYNC, Conf.CACHED, Conf.CACHE = True, True, "other"
    task_id = async_task(functions.add, 5)
    assert result(task_id) == 5
    assert get_broker().cache is caches["other"]
    Conf.CACHE = "default"
    assert result(task_id) is None
    assert get_broker().cache is caches["default"]


def test_time_zone() -> None:
    moment = datetime(2026, 1, 1, 12, tzinfo=clock.now().tzinfo)
    assert clock.localtime(moment).hour == 12
    Conf.TIME_ZONE = "Asia/Tokyo"
    assert clock.localtime(moment).hour == 21


@pytest.mark.django_db
def test_time_zone_of_a_schedule() -> None:
    Conf.TIME_ZONE = "Asia/Tokyo"
    row = Schedule(func="a.b", schedule_type=Schedule.CRON, cron="0 6 * * *")
    row.save()
    assert row.next_run is not None
    assert clock.localtime(row.next_run).hour == 6
    assert row.next_run.hour == 21


def test_retry() -> None:
    Conf.RETRY = 4
    assert get_options().lease == 4


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Not started. Made in a thread, where it leaves this process's signals alone."""
    Conf.WORKERS, Conf.RECYCLE, Conf.CLUSTER_NAME = 3, 2, "mail"
    Conf.SECRET_KEY = "another"
    with ThreadPoolExecutor(1) as thread:
        made = thread.submit(Cluster).result()
    yield made
    made.guard()


def test_a_cluster_and_its_children_have_what_is_assigned(cluster: Cluster) -> None:
    options = cluster.options
    assert (options.worker_count, options.recycle, options.queue) == (3, 2, "mail")
    cluster._make_spawner()  # noqa: SLF001 - no child is started here
    launch = cluster._spawner._template  # noqa: SLF001 - what each child is given
    for name in Conf.assigned:
        delattr(Conf, name)
    package = SignedPackage.dumps({"id": 1})
    try:
        prepare(launch)
        assert (Conf.SECRET_KEY, Conf.CLUSTER_NAME) == ("another", "mail")
        with pytest.raises(BadSignature):
            SignedPackage.loads(package)
    finally:
        vars(Conf).update(_adopted=None, _adopted_others=None)
        Conf.reload()


def test_ack_failures_and_attempts_of_a_task_follow() -> None:
    Conf.BROKER_CLASS, Conf.CLUSTER_NAME = MEMORY, "test-conf"
    Conf.ACK_FAILURES = True
    async_task("tests.functions.add")
    (delivery,) = get_broker().dequeue() or []
    assert SignedPackage.loads(delivery.package)["ack_failure"] is True
    get_broker().delete_queue()


# -- packages that may be missing


@pytest.mark.parametrize(
    "name",
    ["croniter", "prometheus_multiprocess", "psutil", "resource", "setproctitle"],
)
def test_what_is_not_installed_is_none(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = conf.OPTIONAL[name][0]
    monkeypatch.setitem(sys.modules, hidden, None)
    assert getattr(conf, name) is None


def test_what_is_installed_is_there() -> None:
    assert conf.psutil.Process().pid == os.getpid()
    assert conf.resource.RUSAGE_SELF is not None
    assert conf.get_ppid() == os.getppid()


def test_a_name_that_conf_lacks() -> None:
    with pytest.raises(AttributeError, match="no_such"):
        _ = conf.no_such
