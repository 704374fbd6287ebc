"""What test_brokers_bad_input.py asks of the servers beside the database, asked of the
database: settings and clocks that are wrong, odd names.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from django_q.cluster.scheduling import Scheduler
from django_q.cluster.shared_clock import SharedClock
from django_q.conf import get_options
from django_q.exceptions import BrokerUnavailable, ConfigurationError, PackageTooLarge
from django_q.models import OrmQ, Schedule
from django_q.tasks import async_task
from tests.aliases import added_database, added_sqlite
from tests.contract.brokers import packages_of, take
from tests.integration.bad_input import (
    NAMES,
    SECRET,
    Use,
    complaints,
    keeps_time,
    use,
    wrong_clock,
)
from tests.servers import GUEST, GUESTS_WORD, free_port

__all__ = ["use"]

KIND = django_settings.DATABASES["default"]["ENGINE"].rpartition(".")[2]
on_servers = pytest.mark.skipif(KIND == "sqlite3", reason="SQLite has no server")
on_sqlite = pytest.mark.skipif(KIND != "sqlite3", reason="only SQLite")

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def guest() -> Iterator[dict[str, Any]]:
    """Settings of somebody who may look at the queue, and no more."""
    table = OrmQ._meta.db_table  # noqa: SLF001 - public by its docs
    name = connection.settings_dict["NAME"]
    host = connection.settings_dict["HOST"]
    with connection.cursor() as cursor:
        if KIND == "postgresql":
            cursor.execute(f"CREATE ROLE {GUEST} LOGIN PASSWORD '{GUESTS_WORD}'")
            cursor.execute(f"GRANT SELECT ON {table} TO {GUEST}")
        else:
            cursor.execute(f"GRANT SELECT ON {name}.{table} TO '{GUEST}'@'{host}'")
        yield {"USER": GUEST, "PASSWORD": GUESTS_WORD, "NAME": name}
        if KIND == "postgresql":
            cursor.execute(f"DROP OWNED BY {GUEST}; DROP ROLE {GUEST}")
        else:
            cursor.execute(f"REVOKE ALL, GRANT OPTION FROM '{GUEST}'@'{host}'")


@on_servers
def test_wrong_port_is_named_with_the_setting(use: Use) -> None:
    port = free_port()
    away: dict[str, Any] = {"PORT": str(port), "HOST": "127.0.0.1", "PASSWORD": SECRET}
    with added_database(**away) as alias:
        for text in complaints(use({"orm": alias})):
            assert f"127.0.0.1:{port}/" in text
            assert f"Check DATABASES[{alias!r}], and that its server runs" in text


@on_servers
def test_wrong_password_is_told_without_it(use: Use, guest: dict[str, Any]) -> None:
    with added_database(**{**guest, "PASSWORD": SECRET}) as alias:
        for text in complaints(use({"orm": alias})):
            assert f"Check USER and PASSWORD in DATABASES[{alias!r}]" in text
            assert f"'{GUEST}'" in text or f'"{GUEST}"' in text


@on_servers
def test_missing_right_is_named(use: Use, guest: dict[str, Any]) -> None:
    with added_database(**guest) as alias:
        broker = use({"orm": alias})
        assert broker.queue_size() == 0
        with pytest.raises(BrokerUnavailable, match="may read and write") as caught:
            async_task("math.sqrt", 4, q_options={"broker": broker})
    assert OrmQ._meta.db_table in str(caught.value)  # noqa: SLF001 - public by its docs
    assert use({"orm": "default"}).queue_size() == 0


@on_sqlite
def test_file_that_is_not_there_is_named(use: Use, tmp_path: Path) -> None:
    file = tmp_path / "no folder" / "db.sqlite3"
    with added_sqlite(file) as alias:
        for text in complaints(use({"orm": alias})):
            assert str(file)[-60:] in text
            assert f"Check DATABASES[{alias!r}]" in text


@on_sqlite
def test_file_that_may_not_be_written_is_named(use: Use, tmp_path: Path) -> None:
    file = tmp_path / "db.sqlite3"
    with connection.cursor() as cursor:
        cursor.execute("VACUUM INTO %s", [str(file)])
    with added_sqlite(f"file:{file}?mode=ro", uri=True) as alias:
        broker = use({"orm": alias})
        with pytest.raises(BrokerUnavailable, match="may read and write") as caught:
            broker.enqueue("package")
        assert str(file)[-60:] in str(caught.value)


def test_odd_name_works_or_is_refused_and_mixes_with_no_other(use: Use) -> None:
    brokers, refused = {}, {}
    for title, name in {**NAMES, "long enough": "x" * 100}.items():
        try:
            broker = use({"orm": "default"}, name)
        except ConfigurationError as error:
            refused[title] = str(error)
            continue
        broker.enqueue(title)
        broker.enqueue(title, delay=60)
        brokers[title] = broker
    too_long = set() if KIND == "sqlite3" else {"very long"}
    assert refused.keys() == {"zero", "half a character", *too_long}
    for text in refused.values():
        assert "Q_CLUSTER['cluster_name']" in text
        assert text.isprintable()
    for title, broker in brokers.items():
        assert packages_of(take(broker, 99)) == [title]
        assert (title, broker.queue_size()) == (title, 0)


@pytest.mark.skipif(KIND != "mysql", reason="others take more than we send")
def test_package_that_is_too_large_is_refused_with_the_variable(use: Use) -> None:
    broker = use({"orm": "default", "max_package_size": 100_000_000})
    with pytest.raises(PackageTooLarge, match="max_allowed_packet"):
        async_task("builtins.len", "x" * 15_000_000, q_options={"broker": broker})
    assert broker.queue_size() == 0


@on_servers
@pytest.mark.parametrize("hours", [-1, 1])
def test_clock_of_the_client_does_not_matter(use: Use, hours: int) -> None:
    keeps_time(use, {"orm": "default"}, hours)


def schedule_in(minutes: int) -> Schedule:
    when = timezone.now() + timedelta(minutes=minutes)
    return Schedule.objects.create(func="math.sqrt", args="4", next_run=when)


@on_servers
@pytest.mark.parametrize(("hours", "side"), [(1, "ahead of"), (-1, "behind")])
def test_schedules_follow_the_clock_of_the_database(
    use: Use, hours: int, side: str, caplog: pytest.LogCaptureFixture
) -> None:
    broker = use({"orm": "default"})
    scheduler = Scheduler(get_options(), broker, "housekeeper")
    schedule_in(minutes=30)
    with wrong_clock(hours):
        assert scheduler.enqueue_due() == 0
        assert 29 * 60 < (scheduler.rest() or 0) < 31 * 60
        assert scheduler.enqueue_due() == 0
    schedule_in(minutes=-1)
    with wrong_clock(hours):
        assert scheduler.enqueue_due() == 1
    [text] = [record.getMessage() for record in caplog.records if "clock" in record.msg]
    assert f"the clock of this machine is 3600 s {side} that of database" in text


@pytest.mark.parametrize("zoned", [True, False])
def test_shared_clock_shows_the_moment(zoned: bool, settings: Any) -> None:
    settings.USE_TZ = zoned
    shared = SharedClock("default")
    assert abs((shared.now() - timezone.now()).total_seconds()) < 2


# -- at the start of a cluster

BAD: dict[str, tuple[dict[str, Any], str]] = {
    "queue": ({"sqs": {}, "cluster_name": "my shop"}, "can't have a queue 'my shop'"),
    "redis": ({"redis": "redis://:geheim@127.0.0.1:1/0"}, "Q_CLUSTER['redis']"),
    "disque": ({"disque_nodes": ["127.0.0.1:1"]}, "Q_CLUSTER['disque_nodes']"),
    "mongo": (
        {"mongo": {"host": "127.0.0.1", "port": 1, "serverSelectionTimeoutMS": 99}},
        "Q_CLUSTER['mongo']",
    ),
    "iron_mq": ({"iron_mq": {"host": "127.0.0.1"}}, "lacks 'token' and 'project_id'"),
}


@on_sqlite
@pytest.mark.parametrize("kind", BAD)
def test_cluster_does_not_start_and_says_why(q_settings: Any, kind: str) -> None:
    entries, words = BAD[kind]
    q_settings(orm=None, **entries)
    with pytest.raises(CommandError, match="Can't use the broker") as caught:
        call_command("qcluster")
    assert words in str(caught.value)
    assert SECRET not in str(caught.value)
