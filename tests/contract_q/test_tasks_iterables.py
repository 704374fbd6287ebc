"""Iterables: collated once, whoever ends at the same time, at a cost that stays."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.cache import BaseCache, caches
from django.core.cache.backends.locmem import LocMemCache
from django.core.management import call_command
from django.db import connection, connections

from django_q import clock
from django_q.envelope import Envelope
from django_q.options import Options
from django_q.outcome import Outcome
from django_q.results import (
    Record,
    ResultCache,
    conclude,
    finish,
    open_cache,
    part_id,
)
from django_q.signals import post_execute
from django_q.tasks import Iter, async_iter

OPTIONS = Options(name="tests")
ROUNDS = 15
AT_ONCE = 8


def part(iter_id: str, index: int, count: int, result: Any = None) -> Outcome:
    """The end of one part."""
    options = {
        "task_id": part_id(iter_id, index),
        "group": iter_id,
        "cached": True,
        "iter_index": index,
        "iter_count": count,
    }
    return Outcome(
        envelope=Envelope.from_call("tests.functions.add", (index,), {}, options),
        success=True,
        result=index if result is None else result,
        stopped=clock.now(),
    )


def collating(endings: list[tuple[Outcome, Record]]) -> list[tuple[Outcome, Record]]:
    return [ending for ending in endings if ending[0].last_part is not None]


# ------------------------------------------------------------------ at the same time


class SharedCaches:
    """Two caches that processes share: one of files, one in the database."""

    @staticmethod
    def of_files(folder: Path) -> dict[str, Any]:
        backend = "django.core.cache.backends.filebased.FileBasedCache"
        return {"BACKEND": backend, "LOCATION": str(folder)}

    @staticmethod
    def in_database(_folder: Path) -> dict[str, Any]:
        backend = "django.core.cache.backends.db.DatabaseCache"
        return {"BACKEND": backend, "LOCATION": "cache_of_results"}


@pytest.fixture(params=[SharedCaches.of_files, SharedCaches.in_database])
def shared_cache(
    request: pytest.FixtureRequest, settings: Any, tmp_path: Path
) -> Iterator[None]:
    settings.CACHES = {"default": request.param(tmp_path / "cache")}
    call_command("createcachetable", verbosity=0)
    yield
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS cache_of_results")


def at_the_same_time(deeds: list[Callable[[], Any]]) -> list[Any]:
    """What each gives, all of them begun in the same instant, each in its thread."""
    barrier = threading.Barrier(len(deeds))
    given: list[Any] = []

    def do(deed: Callable[[], Any]) -> None:
        barrier.wait()
        try:
            given.append(deed())
        finally:
            connections.close_all()

    threads = [threading.Thread(target=do, args=(deed,)) for deed in deeds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(given) == len(deeds)
    return given


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("shared_cache")
def test_of_parts_that_end_in_the_same_instant_one_collates() -> None:
    for _ in range(ROUNDS):
        iter_id = uuid4().hex

        def end(index: int, iter_id: str = iter_id) -> tuple[Outcome, Record]:
            return conclude(part(iter_id, index, AT_ONCE), OPTIONS)

        endings = at_the_same_time([lambda i=i: end(i) for i in range(AT_ONCE)])  # type: ignore[misc]
        [(whole, record)] = collating(endings)
        assert whole.result == list(range(AT_ONCE))
        assert record.id == iter_id
        finish(whole, OPTIONS)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("shared_cache")
def test_of_many_that_see_all_parts_one_collates() -> None:
    """The narrow moment itself: all are saved, and all look."""
    for _ in range(ROUNDS):
        iter_id = uuid4().hex
        store = open_cache(OPTIONS)
        parts = [part(iter_id, index, AT_ONCE) for index in range(AT_ONCE)]
        for outcome in parts:
            store.save_part(outcome)

        def look(outcome: Outcome) -> bool:
            return open_cache(OPTIONS).parts_of(outcome.envelope).is_collator()

        chosen = at_the_same_time([lambda o=o: look(o) for o in parts])  # type: ignore[misc]
        assert Counter(chosen) == {True: 1, False: AT_ONCE - 1}


@pytest.fixture
def large_cache(settings: Any) -> Iterator[BaseCache]:
    """Django's own default forgets at 300 entries."""
    backend = "django.core.cache.backends.locmem.LocMemCache"
    options = {"MAX_ENTRIES": 100_000}
    settings.CACHES = {
        "default": {"BACKEND": backend, "LOCATION": uuid4().hex, "OPTIONS": options}
    }
    yield caches["default"]
    caches["default"].clear()


# ------------------------------------------------------------------------- crashes


@pytest.mark.usefixtures("large_cache")
class TestCrash:
    """The part that collates is acknowledged when the whole is saved: if its worker dies
    before, it comes back.
    """

    def test_the_collator_collates_again(self) -> None:
        iter_id = uuid4().hex
        conclude(part(iter_id, 0, 2), OPTIONS)
        first = conclude(part(iter_id, 1, 2), OPTIONS)
        second = conclude(part(iter_id, 1, 2), OPTIONS)
        assert len(collating([first, second])) == 2
        assert second[1].id == first[1].id == iter_id
        assert second[1].result == first[1].result

    def test_parts_stay_until_the_whole_is_saved(self) -> None:
        iter_id = uuid4().hex
        conclude(part(iter_id, 0, 2), OPTIONS)
        whole, _ = conclude(part(iter_id, 1, 2), OPTIONS)
        parts = open_cache(OPTIONS).parts_of(part(iter_id, 0, 2).envelope)
        assert all(parts.read())
        finish(whole, OPTIONS)
        assert not any(parts.read())

    def test_no_other_part_takes_it_from_the_collator(self) -> None:
        iter_id = uuid4().hex
        conclude(part(iter_id, 0, 2), OPTIONS)
        conclude(part(iter_id, 1, 2), OPTIONS)
        assert collating([conclude(part(iter_id, 0, 2), OPTIONS)]) == []

    def test_one_that_looks_when_all_is_done_and_deleted_leaves_it_so(
        self, large_cache: BaseCache
    ) -> None:
        iter_id = uuid4().hex
        conclude(part(iter_id, 0, 2), OPTIONS)
        whole, _ = conclude(part(iter_id, 1, 2), OPTIONS)
        finish(whole, OPTIONS)
        late = open_cache(OPTIONS).parts_of(part(iter_id, 0, 2).envelope)
        assert not late._is_chosen()  # noqa: SLF001 - it saw all before the deletion
        assert not large_cache._cache  # type: ignore[attr-defined]  # noqa: SLF001


# ---------------------------------------------------------------------------- cost


class Counting(LocMemCache):
    """Counts the keys that it is asked for, and notes the largest batch."""

    def __init__(self) -> None:
        super().__init__(uuid4().hex, {"max_entries": 100_000})
        self.asked = 0
        self.batch = 0

    def has_key(self, *args: Any, **kwargs: Any) -> bool:
        self.asked += 1
        return super().has_key(*args, **kwargs)

    def set(self, *args: Any, **kwargs: Any) -> None:
        self.asked += 1
        super().set(*args, **kwargs)

    def add(self, *args: Any, **kwargs: Any) -> bool:
        self.asked += 1
        return super().add(*args, **kwargs)

    def get_many(self, keys: Any, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        self.asked += len(keys)
        self.batch = max(self.batch, len(keys))
        return super().get_many(keys, *args, **kwargs)


@pytest.mark.parametrize("order", ["in order", "reversed", "at random"])
def test_the_cost_of_a_part_does_not_grow_with_their_number(order: str) -> None:
    per_part = []
    for count in (100, 1000, 10_000):
        places = list(range(count))
        if order == "reversed":
            places.reverse()
        elif order == "at random":
            random.Random(7).shuffle(places)
        cache = Counting()
        store = ResultCache(cache, "default")
        iter_id = uuid4().hex
        collators = 0
        for place in places:
            outcome = part(iter_id, place, count)
            store.save_part(outcome)
            collators += store.parts_of(outcome.envelope).is_collator()
        assert collators == 1
        per_part.append(cache.asked / count)
        cache.clear()
    assert max(per_part) <= 1.25 * min(per_part)
    assert max(per_part) < 20


def test_results_are_read_a_few_at_a_time() -> None:
    cache = Counting()
    store = ResultCache(cache, "default")
    for index in range(1000):
        store.save_part(part("i", index, 1000))
    parts = store.parts_of(part("i", 0, 1000).envelope)
    assert [found and found["result"] for found in parts.read()] == list(range(1000))
    assert cache.batch <= 100


# ---------------------------------------------------------------------- lost parts


@pytest.mark.usefixtures("large_cache")
def test_parts_that_the_cache_lost_make_a_failure_that_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    iter_id = uuid4().hex
    conclude(part(iter_id, 0, 40), OPTIONS)
    for index in range(1, 39):
        conclude(part(iter_id, index, 40), OPTIONS)
    caches["default"].delete(f"tests:{iter_id}:0.5")
    whole, record = conclude(part(iter_id, 39, 40), OPTIONS)
    assert (record.id, record.success, record.keep) == (iter_id, False, True)
    assert whole.result[4] == 4
    assert "gone from the cache" in whole.result[5]
    assert "1 of 40 results are gone from the cache" in caplog.text


class Small(LocMemCache):
    """Drops what is large without a word, as memcached does."""

    def set(self, key: Any, value: Any, *args: Any, **kwargs: Any) -> None:
        if len(value) < 2000:
            super().set(key, value, *args, **kwargs)


def test_a_part_that_is_too_large_for_the_cache_does_not_hold_up_the_whole(
    settings: Any,
) -> None:
    backend = f"{__name__}.Small"
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": uuid4().hex}}
    iter_id = uuid4().hex
    conclude(part(iter_id, 0, 2, "x" * 5000), OPTIONS)
    whole, _ = conclude(part(iter_id, 1, 2), OPTIONS)
    assert whole.last_part is not None
    assert "may be too large" in whole.result[0]
    assert whole.result[1] == 1


@pytest.mark.usefixtures("memory")
def test_the_log_warns_of_a_cache_that_is_too_small(
    caplog: pytest.LogCaptureFixture, large_cache: BaseCache
) -> None:
    async_iter("math.sqrt", [1] * 300)
    assert caplog.text == ""
    large_cache._max_entries = 300  # noqa: SLF001
    async_iter("math.sqrt", [1] * 299)
    assert caplog.text == ""
    async_iter("math.sqrt", [1] * 300)
    assert "300 parts: its cache drops some above 300 entries" in caplog.text


# ------------------------------------------------------------------------ the call


@pytest.mark.parametrize("wrong", [5, None, (n for n in range(3)), iter([1])])
def test_what_has_no_length_is_refused_with_the_way_out(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"needs a list, not this .*: list\(…\) makes"):
        async_iter("math.sqrt", wrong)


@pytest.mark.django_db
@pytest.mark.usefixtures("memory")
def test_anything_with_a_length_will_do(drain: Callable[..., int]) -> None:
    for given in ({4: "a"}, {4}, (4,), range(4, 5), "4"):
        iterable = Iter("builtins.float")
        iterable.args = given  # type: ignore[assignment]
        iterable.run()
        drain()
        assert iterable.result() == [4.0]


@pytest.mark.django_db
@pytest.mark.usefixtures("memory")
def test_post_execute_comes_once_for_each_part_and_once_for_the_whole(
    drain: Callable[..., int],
) -> None:
    heard: list[str] = []

    def receiver(task: dict[str, Any], **_: Any) -> None:
        heard.append(task["id"])

    post_execute.connect(receiver)
    iter_id = async_iter("math.sqrt", [1, 4, 9])
    drain()
    post_execute.disconnect(receiver)
    expected = [*(part_id(iter_id, index) for index in range(3)), iter_id]
    assert sorted(heard) == sorted(expected)
