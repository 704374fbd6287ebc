"""Vital signs: where they hang, and that earlier releases and we see one another's."""

from __future__ import annotations

import pickle
import threading
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_q.brokers import Broker, get_broker
from django_q.brokers.orm import ORM
from django_q.clock import now
from django_q.cluster.echo import Echo
from django_q.conf import Conf
from django_q.models import VitalSign
from django_q.signing import PickleSerializer, SignedPackage
from django_q.status import Stat, Status
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db

LIST = "django_q:tests:cluster"


class Silent(BaseCache):
    """A cache whose server is gone."""

    def __init__(self, _location: str, params: dict[str, Any]) -> None:
        super().__init__(params)

    def get(self, *_args: Any, **_named: Any) -> Any:
        raise ConnectionError("no cache")

    get_many = set = get


class Hanging(Silent):
    """A cache whose server does not answer until the test lets it."""

    answers = threading.Event()

    def get(self, *_args: Any, **_named: Any) -> Any:
        self.answers.wait()

    get_many = set = get


class Plain(Broker):
    """A broker of a project's: no place of its own for vital signs."""


@pytest.fixture(autouse=True)
def shared_cache(settings: Any, tmp_path: Path) -> BaseCache:
    """A cache that other processes could see."""
    settings.CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
            "LOCATION": str(tmp_path / "cache"),
        },
        "local": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
        "silent": {"BACKEND": f"{__name__}.Silent"},
        "hanging": {"BACKEND": f"{__name__}.Hanging"},
    }
    return caches["default"]


def stat(**vitals: Any) -> Stat:
    return Stat.of(cluster_id=uuid4(), pid=31781, **({"status": "Idle"} | vitals))


def of_the_older_release(**changes: Any) -> Stat:
    """What an earlier release writes: the attributes that it has, and no other."""
    facts = {
        "pid": 4711,
        "cluster_id": uuid4(),
        "host": "orion",
        "status": Conf.WORKING,
        "tob": now(),
        "timestamp": now(),
        "sentinel": 1,
        "monitor": 2,
        "pusher": 3,
        "workers": [4, 5],
        "task_q_size": 6,
        "done_q_size": 7,
        "reincarnations": 8,
    }
    older = Stat.__new__(Stat)
    vars(older).update(facts | changes)
    return older


def written_by_the_older_release(cache: BaseCache, older: Stat) -> None:
    key = f"{LIST}:{older.cluster_id}"
    cache.set(LIST, [*(cache.get(LIST) or []), key])
    cache.set(key, SignedPackage.dumps(older, True), 3)


# -- where they hang


def test_broker_with_a_store_of_its_own_uses_that() -> None:
    stat().publish(ORM("q"), 60)
    assert VitalSign.objects.count() == 1


def test_any_other_broker_uses_the_database(shared_cache: BaseCache) -> None:
    sign = stat()
    sign.publish(Plain("q"), 60)

    assert VitalSign.objects.get().key == sign.key
    assert shared_cache.get(LIST) is None
    assert [s.pid for s in Stat.get_all(Plain("q"))] == [31781]
    assert isinstance(Stat.get(31781, sign.cluster_id, Plain("q")), Stat)


@pytest.mark.django_db(transaction=True)
def test_without_the_table_it_is_the_cache(shared_cache: BaseCache) -> None:
    sign = stat()
    with connection.schema_editor() as editor:
        editor.delete_model(VitalSign)
    try:
        sign.publish(Plain("q"), 60)

        assert shared_cache.get(LIST) == [sign.key]
        assert [s.cluster_id for s in Stat.get_all(Plain("q"))] == [sign.cluster_id]
        assert isinstance(Stat.get(1, sign.cluster_id, Plain("q")), Stat)
    finally:
        with connection.schema_editor() as editor:
            editor.create_model(VitalSign)


def test_broker_that_overrides_set_stat_has_a_store_of_its_own() -> None:
    kept: dict[str, str] = {}

    class Own(Broker):
        def set_stat(self, key: str, value: str, timeout: float = 3) -> None:
            kept[key] = value

        def get_stats(self, pattern: str) -> list[str]:
            return list(kept.values())

        def get_stat(self, key: str) -> str | None:
            return kept.get(key)

    sign = stat()
    sign.publish(Own("q"), 60)

    assert list(kept) == [sign.key]
    assert not VitalSign.objects.exists()
    assert len(Stat.get_all(Own("q"))) == 1
    assert isinstance(Stat.get(1, sign.cluster_id, Own("q")), Stat)


# -- earlier releases see ours


@pytest.mark.parametrize("kind", [ORM, Plain])
def test_saved_signs_are_where_earlier_releases_look(
    kind: type[Broker], shared_cache: BaseCache
) -> None:
    sign = stat()
    sign.save(kind("q"))

    assert shared_cache.get(LIST) == [f"{LIST}:{sign.cluster_id}"]
    read = SignedPackage.loads(shared_cache.get(f"{LIST}:{sign.cluster_id}"))
    assert vars(read) == vars(sign)


def test_our_signs_are_made_of_nothing_that_earlier_releases_lack() -> None:
    sign = stat(tob=now(), workers=[1], name="shop", queue="q", version="1", busy=2)
    assert globals_in(sign) <= {
        "django_q.status Stat",
        "uuid UUID",
        "datetime datetime",
        "datetime timezone",
        "datetime timedelta",
        "django.utils.functional _lazy_proxy_unpickle",
        "django.utils.translation gettext",
        "builtins str",
    }
    plain = (str, int, list, type(None))
    older = vars(of_the_older_release())
    new = {name: value for name, value in vars(sign).items() if name not in older}
    assert older.keys() <= vars(sign).keys()
    assert all(isinstance(value, plain) for value in new.values())


def globals_in(value: Any) -> set[str]:
    """The classes and functions that a pickle asks its reader for."""
    found: set[str] = set()

    class Curious(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            found.add(f"{module} {name}")
            return super().find_class(module, name)

    Curious(BytesIO(PickleSerializer().dumps(value))).load()
    return found


def test_a_cluster_shows_itself_to_earlier_releases(shared_cache: BaseCache) -> None:
    echo = Echo.of(ORM("q"))
    first, last = stat(), stat(status="Stopped")
    echo.say(first, 60)
    wait_until(lambda: shared_cache.get(first.key) is not None)
    echo.say(last, 60)
    echo.close()

    assert shared_cache.get(last.key) is not None
    assert not echo.is_alive()


def test_a_cache_that_nobody_else_sees_has_no_echo(q_settings: Any) -> None:
    q_settings(cache="local")
    caches["local"].clear()
    echo = Echo.of(ORM("q"))
    echo.say(stat(), 60)
    assert not echo.is_alive()
    echo.close()
    assert caches["local"].get(LIST) is None


def test_no_cache_at_all_harms_nothing(q_settings: Any) -> None:
    q_settings(cache="nowhere")
    sign = stat()
    sign.save(ORM("q"))
    Echo.of(ORM("q")).close()
    assert [s.cluster_id for s in Stat.get_all(ORM("q"))] == [sign.cluster_id]


def test_broken_cache_harms_nothing_and_is_told_once(
    q_settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    q_settings(cache="silent")
    sign = stat()
    sign.publish(ORM("q"), 60)
    echo = Echo.of(ORM("q"))
    for _ in range(2):
        echo.say(sign, 60)
        wait_until(lambda: vars(echo)["_said"] is None)
    echo.close()

    assert [s.cluster_id for s in Stat.get_all(ORM("q"))] == [sign.cluster_id]
    assert isinstance(Stat.get(1, sign.cluster_id, ORM("q")), Stat)
    said = [text for text in caplog.messages if "can't be cached" in text]
    assert len(said) == 1
    assert "ConnectionError: no cache" in said[0]


def test_cache_that_hangs_keeps_nobody_waiting(q_settings: Any) -> None:
    q_settings(cache="hanging")
    echo = Echo.of(ORM("q"))
    try:
        for _ in range(3):
            echo.say(stat(), 60)
        echo.close()
        assert echo.is_alive()
    finally:
        Hanging.answers.set()
        echo.join()


# -- we see those of earlier releases


@pytest.mark.parametrize("kind", [ORM, Plain])
def test_clusters_of_earlier_releases_are_seen(
    kind: type[Broker], shared_cache: BaseCache
) -> None:
    ours = stat()
    ours.save(kind("q"))
    older = of_the_older_release()
    written_by_the_older_release(shared_cache, older)

    found = {s.cluster_id: s for s in Stat.get_all(kind("q"))}

    assert found.keys() == {ours.cluster_id, older.cluster_id}
    theirs = found[older.cluster_id]
    assert vars(theirs) == vars(older)
    assert (theirs.state, theirs.busy, theirs.version) == ("working", None, None)
    read = Stat.get(4711, older.cluster_id, kind("q"))
    assert isinstance(read, Stat)
    assert read.workers == [4, 5]


def test_the_cluster_id_of_the_oldest_is_a_number(shared_cache: BaseCache) -> None:
    written_by_the_older_release(shared_cache, of_the_older_release(cluster_id=4711))
    (found,) = Stat.get_all(get_broker())
    assert found.cluster_id == 4711


def test_what_others_wrote_under_the_list_harms_nothing(
    shared_cache: BaseCache,
) -> None:
    shared_cache.set(LIST, 7)
    assert Stat.get_all(get_broker()) == []


def test_unknown_is_a_stopped_status() -> None:
    assert type(Stat.get(1, uuid4(), Plain("q"))) is Status


# -- and it is cheap


def test_a_sign_that_hangs_already_is_renewed_by_one_statement() -> None:
    sign, broker = stat(), Plain("q")
    sign.publish(broker, 60)
    with CaptureQueriesContext(connection) as queries:
        sign.publish(broker, 60)
    writes = [q["sql"] for q in queries if q["sql"].startswith(("UPDATE", "INSERT"))]
    assert len(writes) == 1
    assert writes[0].startswith("UPDATE")
