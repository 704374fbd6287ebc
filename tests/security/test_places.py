"""Rows 22, 23, 27 and 29: servers, files and keys."""

from __future__ import annotations

import os
import pickle
import stat
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.cache import caches
from django.core.cache.backends.filebased import FileBasedCache
from redis import Redis as Client

from django_q import checks, clock
from django_q.brokers.redis_broker import Redis
from django_q.brokers.redis_cautions import cautions
from django_q.cluster.lockfile import LockFile
from django_q.envelope import Envelope
from django_q.exceptions import BrokerError
from django_q.outcome import Outcome
from django_q.results.cache import ResultCache
from django_q.results.shelf import Shelf
from django_q.transactions import Turnstile
from tests.security.harm import Bomb
from tests.servers import ADDRESS, RedisServer

# ------------------------------------------------------------------------ servers


@pytest.mark.parametrize("way", ["redis://cache.internal/0", {"host": "10.0.0.7"}])
def test_s22_open_server_on_another_host_is_warned_of(way: Any) -> None:
    site = checks.Site(
        raw={"redis": way}, databases={}, caches={}, logging={}, secret_key="x"
    )
    assert "django_q.W006" in [message.id for message in checks.find_risks(site)]


def test_s22_user_without_scripts_is_refused_and_the_command_named(
    redis_server: RedisServer, q_settings: Any
) -> None:
    rules = (">p", "~*", "+@all", "-@scripting")
    with Client.from_url(redis_server.url) as client:
        client.execute_command("ACL SETUSER", "poor", "reset", "on", *rules)
        way = {"port": redis_server.port, "username": "poor", "password": "p"}
        q_settings(orm=None, redis=way)
        try:
            with pytest.raises(BrokerError, match="evalsha"):
                Redis("poor").ping()
        finally:
            client.acl_deluser("poor")


def test_s22_wrong_password_is_said_without_it(
    redis_server: RedisServer, q_settings: Any
) -> None:
    url = f"redis://nobody:s3cr3t@{ADDRESS}:{redis_server.port}"
    q_settings(orm=None, redis=url)
    with pytest.raises(BrokerError) as refused:
        Redis("wrong").ping()
    assert "Q_CLUSTER['redis']" in str(refused.value)
    assert "s3cr3t" not in str(refused.value)


def test_s23_server_that_may_evict_the_queue_is_told_of(
    redis_server: RedisServer,
) -> None:
    with Client.from_url(redis_server.url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            told = " ".join(cautions(client))
        finally:
            client.config_set("maxmemory-policy", "noeviction")
    assert "maxmemory-policy is allkeys-lru" in told


# -------------------------------------------------------------------------- files


def pass_turnstile(database: Path) -> None:
    """What a writer does before it writes."""
    connection = SimpleNamespace(settings_dict={"NAME": database})
    with Turnstile(connection) as turnstile:
        turnstile.enter(limit=1)
        turnstile.begin()


@pytest.mark.parametrize("mode", [0o600, 0o660])
def test_s27_file_beside_a_database_has_the_rights_of_the_database(
    tmp_path: Path, mode: int
) -> None:
    database = tmp_path / "db.sqlite3"
    database.touch()
    database.chmod(mode)
    before = os.umask(0)
    try:
        pass_turnstile(database)
    finally:
        os.umask(before)
    beside = tmp_path / "db.sqlite3-turnstile"
    assert stat.S_IMODE(beside.stat().st_mode) == mode


def test_s27_file_beside_a_database_is_not_opened_through_a_link(
    tmp_path: Path,
) -> None:
    database, victim = tmp_path / "db.sqlite3", tmp_path / "victim"
    database.touch()
    victim.write_text("precious, and longer than eight bytes")
    (tmp_path / "db.sqlite3-turnstile").symlink_to(victim)
    pass_turnstile(database)
    assert victim.read_text() == "precious, and longer than eight bytes"


def test_s27_lock_in_a_cache_of_files_is_private_and_no_link(tmp_path: Path) -> None:
    folder, victim = tmp_path / "cache", tmp_path / "victim"
    shelf = Shelf(FileBasedCache(str(folder), {}), "q")
    before = os.umask(0)
    try:
        assert shelf.add("first", 1)
    finally:
        os.umask(before)
    lock = folder / "django_q.lock"
    assert stat.S_IMODE(lock.stat().st_mode) == 0o600
    lock.unlink()
    victim.write_text("precious")
    lock.symlink_to(victim)
    with pytest.raises(OSError, match=r"django_q\.lock"):
        shelf.add("second", 1)
    assert victim.read_text() == "precious"


def lock_file_in(folder: Path) -> LockFile:
    return LockFile(str(folder), "0" * 16, uuid.uuid4().hex)


def test_s27_lock_file_of_a_cluster_is_private(tmp_path: Path) -> None:
    file = lock_file_in(tmp_path / "private")
    before = os.umask(0)
    try:
        file.create()
    finally:
        os.umask(before)
    made = file.folder / file.name
    assert stat.S_IMODE(file.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    file.leave(is_clean=True)
    assert not list(file.folder.iterdir())


def open_to_all(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)


def linked(folder: Path) -> None:
    elsewhere = folder.with_name("elsewhere")
    elsewhere.mkdir(0o700)
    folder.symlink_to(elsewhere)


def of_another_user(folder: Path) -> None:
    folder.mkdir(0o700)
    os.chown(folder, os.geteuid() + 1, -1)


PLANTED = [open_to_all, linked, of_another_user]


@pytest.mark.parametrize("plant", PLANTED)
def test_s27_cluster_does_without_a_lock_file_where_others_may_write(
    tmp_path: Path, plant: Callable[[Path], None]
) -> None:
    file = lock_file_in(tmp_path / "planted")
    with skipping_what_needs_root():
        plant(file.folder)
    with pytest.raises(OSError, match="planted"):
        file.create()
    assert not list(file.folder.iterdir())


@pytest.mark.parametrize("plant", PLANTED)
def test_s27_file_that_others_may_have_planted_proves_no_death(
    tmp_path: Path, plant: Callable[[Path], None]
) -> None:
    file, observer = (lock_file_in(tmp_path / "planted") for _ in range(2))
    with skipping_what_needs_root():
        plant(file.folder)
    (file.folder / file.name).touch(0o600)
    assert found_dead(observer) == []


def test_s27_file_that_others_own_or_a_link_proves_no_death(tmp_path: Path) -> None:
    victim, observer = tmp_path / "victim", lock_file_in(tmp_path / "private")
    victim.touch(0o600)
    observer.create()
    linked_file = lock_file_in(observer.folder)
    (observer.folder / linked_file.name).symlink_to(victim)
    assert found_dead(observer) == []
    readable = lock_file_in(observer.folder)
    (observer.folder / readable.name).touch()
    (observer.folder / readable.name).chmod(0o666)
    assert found_dead(observer) == []
    real = lock_file_in(observer.folder)
    (observer.folder / real.name).touch(0o600)
    assert found_dead(observer) == [real.cluster]
    observer.leave(is_clean=True)


def found_dead(observer: LockFile) -> list[str]:
    buried: list[str] = []
    observer.bury_others(buried.append)
    return buried


@contextmanager
def skipping_what_needs_root() -> Iterator[None]:
    try:
        yield
    except PermissionError:
        pytest.skip("only root can give files away")


# --------------------------------------------------------------------------- keys


@pytest.fixture
def store() -> ResultCache:
    caches["default"].clear()
    return ResultCache(caches["default"], "tests")


def save(store: ResultCache, number: int, group: str | None) -> None:
    envelope = Envelope(
        id=f"{number:032x}", name="n", func="math.sqrt", group=group, cached=True
    )
    outcome = Outcome(
        envelope=envelope, success=True, result=number, stopped=clock.now()
    )
    store.save(outcome)


def results(store: ResultCache, group: str) -> list[int] | None:
    found = store.find_group(group)
    return None if found is None else [task["result"] for task in found]


NAMES = ["x", "x:keys", "x:keys:keys", "x%3Akeys", "tests:x", "x\n", "x ", "é" * 200]


def test_s29_no_name_of_a_group_leads_to_the_keys_of_another(
    store: ResultCache,
) -> None:
    for number, group in enumerate(NAMES):
        assert results(store, group) is None
        save(store, number, group)
    for number, group in enumerate(NAMES):
        assert results(store, group) == [number]
    store.delete_group("x")
    assert [results(store, group) for group in NAMES[1:]] == [
        [number] for number in range(1, len(NAMES))
    ]


def test_s29_what_lies_in_the_cache_is_opened_only_if_it_is_signed(
    store: ResultCache, bomb: Bomb
) -> None:
    save(store, 1, "g")
    for planted in (pickle.dumps(bomb), pickle.dumps(bomb).hex(), "junk"):
        caches["default"].set(f"tests:{1:032x}", planted)
        assert store.find(f"{1:032x}") is None
        assert results(store, "g") == []
    assert not bomb.has_exploded
