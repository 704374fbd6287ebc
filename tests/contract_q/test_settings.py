"""Q_CLUSTER: what its entries do, and what becomes of missing and odd ones."""

from __future__ import annotations

import logging
import os
import runpy
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
from django.core.checks import Warning as WarningMessage
from django.core.management import call_command
from django.core.management.base import CommandError, SystemCheckError
from django.db import connection, transaction
from django.test import override_settings

from django_q.brokers import get_broker
from django_q.brokers.memory import Memory
from django_q.checks import Site, find_problems
from django_q.cluster import Cluster
from django_q.cluster.affinity import choose_processors, restrict_to_share
from django_q.cluster.children import PATHS
from django_q.cluster.launching import close_connections
from django_q.cluster.lines import Line
from django_q.cluster.scheduling import Scheduler
from django_q.cluster.sentinel import Sentinel
from django_q.conf import Conf, get_options, load_options
from django_q.models import OrmQ, Schedule, Task
from django_q.options import Options, count_processors
from django_q.tasks import async_task
from tests.house import rooms

MEMORY = "django_q.brokers.memory.Memory"


# -- which value counts


def test_without_q_cluster_everything_has_its_default(settings: Any) -> None:
    del settings.Q_CLUSTER
    Conf.reload()  # nothing tells of a setting that is taken away, nor of its return
    try:
        assert get_options() == Options(time_zone=settings.TIME_ZONE)
        assert Conf.PREFIX == Conf.CLUSTER_NAME == "default"
    finally:
        Conf.reload()


@pytest.mark.parametrize("raw", [None, [], "shop", 7])
def test_what_is_no_dictionary_counts_as_empty(settings: Any, raw: Any) -> None:
    settings.Q_CLUSTER = raw
    assert get_options() == Options(time_zone=settings.TIME_ZONE)


def test_overridden_settings_count_while_they_are_overridden() -> None:
    usual = Conf.RETRY
    with override_settings(Q_CLUSTER={"retry": 77, "name": "inner"}):
        assert (Conf.RETRY, Conf.PREFIX, get_options().retry) == (77, "inner", 77)
        assert get_options().orm is None
    assert usual == Conf.RETRY


@pytest.mark.parametrize("nothing", [0, None])
def test_no_number_of_workers_is_one_for_each_processor(nothing: Any) -> None:
    options = load_options({"workers": nothing}, {})
    assert options.worker_count == count_processors()
    if hasattr(os, "sched_getaffinity"):
        assert count_processors() == len(os.sched_getaffinity(0))


def test_bulk_and_queue_limit_set_themselves_when_nothing_is_said() -> None:
    options = load_options({}, {})
    assert (options.bulk, options.queue_limit) == (None, None)


@pytest.mark.parametrize("limit", [0, 1, 50])
def test_an_explicit_queue_limit_stays_as_it_is(limit: int) -> None:
    assert load_options({"queue_limit": limit}, {}).queue_limit == limit


@pytest.mark.parametrize(
    ("retry", "lease"), [(10, 10), (30, 30), (100, 30), (0.1, 1), (0, 30), (None, 30)]
)
def test_the_lease_is_retry_within_bounds(retry: Any, lease: float) -> None:
    assert load_options({"retry": retry}, {}).lease == lease


def test_time_zone_is_the_projects_unless_there_is_none(settings: Any) -> None:
    settings.TIME_ZONE = "Asia/Tokyo"
    assert Conf.TIME_ZONE == get_options().time_zone == "Asia/Tokyo"
    settings.USE_TZ = False
    assert Conf.TIME_ZONE is None


def test_keys_of_applications_are_left_alone(settings: Any) -> None:
    settings.Q_CLUSTER = {"sentinel": {"own": "key"}, "ORM": "default"}
    assert get_options() == Options(time_zone=settings.TIME_ZONE)
    assert settings.Q_CLUSTER == {"sentinel": {"own": "key"}, "ORM": "default"}


# -- alternative clusters

TWO = {
    "name": "shop",
    "orm": "default",
    "retry": 60,
    "ALT_CLUSTERS": {
        "long": {"retry": 3600, "broker_class": MEMORY, "orm": None},
        "shop": {"retry": 1},
        "named": {"name": "other", "cluster_name": "yet-another", "retry": 5},
    },
}


def named(cluster: str, **more: Any) -> Options:
    return load_options(TWO | more, {"Q_CLUSTER_NAME": cluster})


def test_an_alternative_cluster_may_change_anything_even_the_broker() -> None:
    options = named("long")
    assert (options.name, options.queue, options.retry) == ("shop", "long", 3600)
    assert (options.broker_class, options.orm) == (MEMORY, None)


def test_it_keeps_the_name_of_the_site() -> None:
    options = named("named")
    assert (options.name, options.queue, options.retry) == ("shop", "named", 5)
    assert options.stat_prefix == "django_q:shop:cluster"


def test_the_cluster_itself_has_no_alternative() -> None:
    assert named("shop").retry == 60
    options = named("long", cluster_name="long")
    assert (options.queue, options.retry, options.orm) == ("long", 60, "default")


@pytest.mark.parametrize("alternatives", [None, {}, {"long": None}, {"other": {}}])
def test_a_name_without_an_alternative_is_another_queue(alternatives: Any) -> None:
    options = named("long", ALT_CLUSTERS=alternatives)
    assert (options.queue, options.retry, options.orm) == ("long", 60, "default")


def test_an_empty_name_in_the_environment_is_none() -> None:
    assert named("") == load_options(TWO, {})


@pytest.mark.parametrize("odd", [7, "long", ["retry"]])
def test_an_alternative_that_is_no_dictionary_is_told_by_the_check(
    settings: Any, monkeypatch: pytest.MonkeyPatch, odd: Any
) -> None:
    monkeypatch.setenv("Q_CLUSTER_NAME", "long")
    settings.Q_CLUSTER = TWO | {"ALT_CLUSTERS": {"long": odd}}
    assert get_options().queue == "long"
    with pytest.raises(SystemCheckError, match=r"'long'\] must be a dictionary"):
        call_command("check")
    settings.Q_CLUSTER = TWO | {"ALT_CLUSTERS": odd}
    assert get_options().queue == "long"
    with pytest.raises(SystemCheckError, match="'ALT_CLUSTERS'"):
        call_command("check")


@pytest.mark.django_db
def test_who_enqueues_for_another_cluster_uses_the_broker_of_that(
    settings: Any,
) -> None:
    settings.Q_CLUSTER = TWO
    async_task("a.b", cluster="long")
    queue = get_broker("long")
    assert isinstance(queue, Memory)
    assert queue.queue_size() == 1
    assert not OrmQ.objects.exists()
    queue.purge_queue()


# -- checks


def check(**raw: Any) -> list[Any]:
    site = Site(raw=raw, databases={}, caches={}, logging={}, secret_key="k" * 50)
    return [(m.id, type(m)) for m in find_problems(site)]


def test_repeating_for_ever_is_told_where_it_was_written_down() -> None:
    told = [("django_q.W017", WarningMessage)]
    assert check(ack_failures=False) == told
    assert check(ack_failures=False, max_attempts=0) == told
    assert check(ack_failures=False, max_attempts=3) == []
    assert check(ack_failures=True) == check(ack_failures=None) == check() == []


# -- transactions


@pytest.fixture
def outside(q_settings: Any) -> Any:
    """A broker outside the database."""
    q_settings(broker_class=MEMORY, cluster_name="outside")
    yield get_broker()
    get_broker().delete_queue()


@pytest.mark.django_db(transaction=True)
def test_sending_at_once_is_a_setting(outside: Any, q_settings: Any) -> None:
    with transaction.atomic():
        async_task("a.b")
        assert outside.queue_size() == 0
    assert outside.queue_size() == 1
    q_settings(send_on_commit=False)
    with transaction.atomic():
        async_task("a.b")
        assert outside.queue_size() == 2
        transaction.set_rollback(True)
    assert outside.queue_size() == 2


# -- what the cluster does with them


@pytest.fixture
def make_cluster() -> Any:
    """A cluster that is not started, and leaves this process's signals alone."""
    made = []

    def make() -> Cluster:
        with ThreadPoolExecutor(1) as thread:
            made.append(thread.submit(Cluster).result())
        return made[-1]

    yield make
    for cluster in made:
        cluster.guard()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("sync", [False, True])
def test_with_sync_connections_stay_open_and_the_log_warns(
    q_settings: Any, caplog: pytest.LogCaptureFixture, sync: bool
) -> None:
    q_settings(sync=sync)
    assert not Task.objects.exists()
    close_connections(get_options(), "Q Cluster shop")
    assert (connection.connection is not None) is sync
    warned = [r.levelno for r in caplog.records if "connections stay open" in r.message]
    assert warned == ([logging.WARNING] if sync else [])


@pytest.mark.parametrize("daemonize", [True, False])
def test_who_is_a_daemon(make_cluster: Any, q_settings: Any, daemonize: bool) -> None:
    q_settings(daemonize_workers=daemonize, start_method="spawn")
    cluster = make_cluster()
    cluster._make_spawner()  # noqa: SLF001 - no child is started here
    spawner = cluster._spawner  # noqa: SLF001
    daemons = {kind for kind in PATHS if spawner._is_daemon(kind)}  # noqa: SLF001
    others = {"pusher", "monitor", "housekeeper"}
    assert daemons == ({"worker"} | others if daemonize else others)


def test_the_sentinel_looks_round_every_guard_cycle(
    make_cluster: Any, q_settings: Any
) -> None:
    q_settings(guard_cycle=0.125, start_method="spawn")
    cluster = make_cluster()
    cluster._make_spawner()  # noqa: SLF001 - no child is started here
    ours, theirs = Line.pair()
    launch = replace(cluster._spawner._template, control=theirs)  # noqa: SLF001
    sentinel = Sentinel(launch)
    assert sentinel._patience() == 0.125  # noqa: SLF001 - how long it waits for news
    sentinel.control.close()
    Line(ours).close()


@pytest.mark.skipif(
    len(getattr(os, "sched_getaffinity", lambda _: [])(0)) < 2,
    reason="there is no choice of processors",
)
def test_testing_only_pretends_affinity(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "django-q")
    before = os.sched_getaffinity(0)
    restrict_to_share(0, 1, pretend=True)
    assert os.sched_getaffinity(0) == before
    assert f"processors {choose_processors(0, 1, sorted(before))}" in caplog.text


class Reports:
    """A database router that keeps schedules elsewhere."""

    def db_for_write(self, model: Any, **_hints: Any) -> str | None:
        return "reports" if model is Schedule else None


@pytest.mark.parametrize("has_replica", [True, False])
def test_schedules_are_written_where_the_router_says(
    settings: Any, q_settings: Any, has_replica: bool
) -> None:
    q_settings(has_replica=has_replica)
    settings.DATABASE_ROUTERS = [Reports()]
    assert Scheduler(get_options(), get_broker(), "Process-1:1").database == "reports"


@pytest.mark.parametrize("key", ["", None])
def test_without_a_secret_key_qcluster_says_so(settings: Any, key: Any) -> None:
    settings.SECRET_KEY = key
    with pytest.raises(CommandError, match="SECRET_KEY is empty"):
        call_command("qcluster")


# -- what an import says

IMPORT_ALL = """
import importlib, sys, django
from django.conf import settings
settings.Q_CLUSTER = {"timeout": 90, "retry": 60, "save_limit_per": "colour"}
django.setup()
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


def test_importing_warns_of_nothing() -> None:
    modules = [name for name in rooms.modules() if "preload" not in name]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", IMPORT_ALL, *modules],
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


# -- what the distribution promises


def test_reporters_and_extras_of_the_distribution(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The two plug-ins register nothing themselves."""
    said: dict[str, Any] = {}
    tool = ModuleType("setuptools")
    vars(tool).update(find_packages=lambda **_: [], setup=said.update)
    monkeypatch.setitem(sys.modules, "setuptools", tool)
    runpy.run_path(str(rooms.ROOT / "setup.py"))
    assert set(said["entry_points"]["djangoq.errorreporters"]) == {
        "rollbar = django_q_rollbar:Rollbar",
        "sentry = django_q_sentry:Sentry",
    }
    assert {"rollbar", "sentry", "croniter"} <= set(said["extras_require"])
