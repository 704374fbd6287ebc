"""Two clusters of one site, one on the database and one on Redis."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from django.core.management import call_command
from redis import Redis as Client

from django_q.clock import now
from django_q.models import Schedule, Task
from django_q.tasks import async_chain, async_task
from tests.acceptance.conftest import Runner
from tests.acceptance.functions import order
from tests.acceptance.harness import RunningCluster
from tests.functions import add
from tests.servers import RedisServer
from tests.waiting import wait_until

pytestmark = pytest.mark.once


class Site(NamedTuple):
    """Its clusters, by their queues."""

    shop: RunningCluster
    reports: RunningCluster

    def ran(self, group: str, count: int) -> list[tuple[str | None, Any]]:
        """Where the tasks of a group ran, and what came of them, in order."""
        rows = Task.objects.filter(group=group).order_by("stopped")
        wait_until(lambda: rows.count() == count, 15)
        return [(row.cluster, row.result) for row in rows.all()]


@pytest.fixture
def site(
    redis_server: RedisServer, new_cluster: Runner, q_settings: Any
) -> Iterator[Site]:
    shop, reports = f"shop-{uuid4().hex[:6]}", f"reports-{uuid4().hex[:6]}"
    on_redis = {"orm": None, "redis": redis_server.url}
    settings = {"cluster_name": shop, "ALT_CLUSTERS": {reports: on_redis}}
    q_settings(**settings)
    site = Site(
        new_cluster(**settings),
        new_cluster("--name", reports, **settings),
    )
    site.reports.queue = reports
    for cluster in site:
        cluster.start()
    for cluster in site:
        cluster.wait_until_running()
    yield site
    with Client.from_url(redis_server.url) as client:
        client.flushdb()


def test_tasks_go_from_the_one_to_the_other_and_back(site: Site) -> None:
    shop, reports = (cluster.queue for cluster in site)
    there, back = ({"q_options": {"cluster": queue}} for queue in (reports, shop))
    steps = [(add, (1, 2)), (add, (3, 4), there), (add, (5, 6)), (add, (7, 8), back)]
    chain = async_chain(steps)
    assert site.ran(chain, 4) == [(shop, 3), (reports, 7), (reports, 11), (shop, 15)]

    # Whoever fires it, runs it: nobody else reads that row.
    Schedule.objects.create(func="tests.functions.add", args="20, 22", name="monthly")
    Schedule.objects.filter(name="monthly").update(cluster=reports, next_run=now())
    assert site.ran("monthly", 1) == [(reports, 42)]

    # Each of them queues a task for each of them.
    for queue in (shop, reports):
        async_task(order, (shop, reports), f"from {queue}", cluster=queue)
        ran = site.ran(f"from {queue}", 2)
        assert sorted(ran) == sorted([(shop, 2), (reports, 2)])
    wait_until(lambda: all(cluster.queue_is_empty() for cluster in site), 15)

    shown = StringIO()
    call_command("qinfo", stdout=shown)
    by_queue = {line.split()[0]: line for line in shown.getvalue().splitlines() if line}
    assert by_queue[shop].split()[1] == by_queue[reports].split()[1] == "1"
    assert "on Redis" in by_queue[reports]
    assert "on " not in by_queue[shop]
