"""The Redis broker keeps the contract on a cluster, behind a Sentinel, and over TLS."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.test_redis import RedisContract
from tests.house.rooms import ROOT
from tests.redis_servers import RedisClusterServer, RedisWithTls, WatchedRedis
from tests.servers import ADDRESS

CORE = {
    "test_broker_survives_pickling",
    "test_closed_broker_opens_anew",
    "test_dead_clusters_packages_are_rescued",
    "test_descriptor_tells_of_a_package",
    "test_info_says_what_it_is",
    "test_many_packages_go_to_the_queues_that_they_name",
    "test_nothing_is_left_after",
    "test_package_comes_back_byte_for_byte",
    "test_ping_answers",
    "test_queued_twice_is_queued_once",
    "test_released_package_can_wait_and_counts_its_failed_attempt",
    "test_sizes_are_right_at_every_step",
    "test_unacknowledged_package_comes_back",
    "test_vital_signs_are_kept_for_a_while",
}
"""Enough where the way to the server differs, and the server does not."""

RIGHTS = (
    "~django_q:* +@list +@hash +@sortedset +@scripting +@connection"
    " +get +set +mget +del +scan +time +info"
)


def core_only(contract: type[RedisContract]) -> type[RedisContract]:
    for name in dir(contract):
        if name.startswith("test_") and name not in CORE:
            setattr(contract, name, None)
    return contract


class TestRedisCluster(RedisContract):
    @pytest.fixture(autouse=True)
    def _settings(
        self, redis_cluster: RedisClusterServer, q_settings: Any
    ) -> Iterator[None]:
        q_settings(redis={"startup_nodes": redis_cluster.addresses[1:]}, orm=None)
        yield
        redis_cluster.flush()


@core_only
class TestRedisBehindSentinel(RedisContract):
    @pytest.fixture(autouse=True)
    def _settings(self, watched_redis: WatchedRedis, q_settings: Any) -> Iterator[None]:
        q_settings(redis=watched_redis.settings, orm=None)
        yield
        watched_redis.ask(watched_redis.master, "FLUSHALL")


@core_only
class TestRedisOverTls(RedisContract):
    """As a user who may do what the documentation asks for, and no more."""

    @pytest.fixture(autouse=True)
    def _settings(
        self, redis_with_tls: RedisWithTls, q_settings: Any
    ) -> Iterator[None]:
        with redis_with_tls.client as client:
            rules = ("reset", "on", ">secret", *RIGHTS.split())
            client.execute_command("ACL SETUSER", "queue", *rules)
        way = {"host": ADDRESS, "port": redis_with_tls.port, "ssl": True}
        who = {"username": "queue", "password": "secret"}
        q_settings(redis=way | who | redis_with_tls.certificates, orm=None)
        yield
        with redis_with_tls.client as client:
            client.flushall()


def test_rights_of_that_user_are_those_of_the_documentation() -> None:
    text = (ROOT / "docs" / "brokers.rst").read_text(encoding="utf-8")
    assert RIGHTS in " ".join(text.split())
