"""Cached results: single, in groups, as parts of an iterable; signed, apart."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import replace
from typing import Any

import pytest
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.locmem import LocMemCache

from django_q.envelope import Envelope
from django_q.outcome import Outcome
from django_q.results import ResultCache, part_id
from django_q.results.shelf import Shelf
from django_q.signing import SignedPackage
from tests.unit.results.making import ended

ITER_ID = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def cache() -> BaseCache:
    cache = caches["default"]
    cache.clear()
    return cache


@pytest.fixture
def store(cache: BaseCache) -> ResultCache:
    return ResultCache(cache, "default")


def test_a_result_is_found_under_its_id(store: ResultCache, cache: BaseCache) -> None:
    outcome = ended(None, cached=True, hook="a.b")
    store.save(outcome)
    found = store.find(outcome.envelope.id)
    assert found == outcome.as_dict()
    assert found is not None
    assert found["result"] is None
    assert isinstance(cache.get(f"default:{outcome.envelope.id}"), str)
    assert store.find("b" * 32) is None


def test_functions_are_kept_by_name(store: ResultCache) -> None:
    outcome = ended(cached=True, hook=pytest.fail)
    outcome = outcome._replace(envelope=replace(outcome.envelope, func=pytest.fail))
    store.save(outcome)
    found = store.find(outcome.envelope.id) or {}
    assert isinstance(found["func"], str)
    assert isinstance(found["hook"], str)


def test_deleting(store: ResultCache) -> None:
    outcome = ended(cached=True)
    store.save(outcome)
    assert store.delete(outcome.envelope.id) is True
    assert store.delete(outcome.envelope.id) is False
    assert store.find(outcome.envelope.id) is None


def test_seconds_until_expiry() -> None:
    kept: dict[str, Any] = {}

    class Watching(LocMemCache):
        def set(
            self, key: Any, value: Any, timeout: Any = 0, version: Any = None
        ) -> None:
            kept[key] = timeout
            super().set(key, value, timeout, version)

    store = ResultCache(Watching("watching", {}), "q")
    lasting, passing = ended(cached=True), ended(cached=30, group="g")
    store.save(lasting)
    store.save(passing)
    assert kept[f"q:{lasting.envelope.id}"] is None
    assert kept[f"q:{passing.envelope.id}"] == 30
    assert kept["q:g:keys"] == 30


@pytest.mark.parametrize("forged", ["", "x", "forged:package:here", b"bytes"])
def test_a_forged_result_is_refused(
    store: ResultCache, cache: BaseCache, forged: Any, caplog: pytest.LogCaptureFixture
) -> None:
    cache.set(f"default:{ITER_ID}", forged, None)
    assert store.find(ITER_ID) is None
    assert "a cached result was refused" in caplog.text


class TestGroup:
    def test_members_are_found_as_they_ended(self, store: ResultCache) -> None:
        for result in (1, 2, 3):
            store.save(ended(result, success=result != 2, group="g", cached=True))
        assert [t["result"] for t in store.find_group("g") or []] == [1, 2, 3]
        good = store.find_group("g", failures=False) or []
        assert [t["result"] for t in good] == [1, 3]
        assert store.find_group("h") is None

    def test_a_member_that_ended_twice_counts_once(self, store: ResultCache) -> None:
        outcome = ended(1, group="g", cached=True)
        store.save(outcome)
        store.save(outcome)
        assert len(store.find_group("g") or []) == 1

    def test_members_that_are_gone_are_left_out(self, store: ResultCache) -> None:
        first, second = ended(1, group="g", cached=True), ended(2, group="g", cached=9)
        store.save(first)
        store.save(second)
        store.delete(first.envelope.id)
        assert [t["result"] for t in store.find_group("g") or []] == [2]

    def test_deleting_a_group_deletes_its_results(self, store: ResultCache) -> None:
        outcome = ended(1, group="g", cached=True)
        store.save(outcome)
        store.delete_group("g")
        assert store.find_group("g") is None
        assert store.find(outcome.envelope.id) is None
        store.delete_group("g")

    @pytest.mark.parametrize(
        "group",
        [
            *("x:keys", "x:args", "x:lock", ITER_ID, f"{ITER_ID}:keys", "a b", "ü\n"),
            *("%3A", "g" * 500, "../x", "\0", "half \ud800"),
        ],
    )
    def test_no_group_meets_another_or_a_result(
        self, store: ResultCache, cache: BaseCache, group: str
    ) -> None:
        """Also none has a character that memcached refuses: that would be a warning."""
        store.save(ended("mine", group=group, cached=True))
        store.save(ended("theirs", group="x", cached=True))
        store.keep_arguments("x", ["args"])
        single = ended("single", cached=True, task_id=ITER_ID)
        store.save(single)
        assert [t["result"] for t in store.find_group(group) or []] == ["mine"]
        assert [t["result"] for t in store.find_group("x") or []] == ["theirs"]
        assert store.find_arguments("x") == ["args"]
        assert (store.find(ITER_ID) or {})["result"] == "single"

    def test_no_group_is_called_like_the_key_of_a_long_one(
        self, store: ResultCache
    ) -> None:
        long = "g" * 500
        store.save(ended("theirs", group=long, cached=True))
        named = hashlib.sha256(long.encode()).hexdigest()
        assert store.find_group(named) is None
        assert [t["result"] for t in store.find_group(long) or []] == ["theirs"]

    def test_keys_of_plain_groups_are_those_of_all_releases(
        self, store: ResultCache, cache: BaseCache
    ) -> None:
        outcome = ended(1, group="monthly-2026.1_a", cached=True)
        store.save(outcome)
        expected = [f"default:{outcome.envelope.id}"]
        assert cache.get("default:monthly-2026.1_a:keys") == expected

    def test_queues_do_not_meet(self, cache: BaseCache) -> None:
        one, other = ResultCache(cache, "one"), ResultCache(cache, "django_q:other:q")
        outcome = ended(1, group="g", cached=True)
        other.save(outcome)
        assert one.find_group("g") is None
        assert cache.get(f"django_q:other:q:{outcome.envelope.id}")

    def test_members_that_end_in_the_same_instant(self, cache: BaseCache) -> None:
        barrier = threading.Barrier(8)

        def save_some(number: int) -> None:
            store = ResultCache(cache, "default")
            barrier.wait()
            for index in range(20):
                store.save(ended((number, index), group="g", cached=True))

        threads = [threading.Thread(target=save_some, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found = ResultCache(cache, "default").find_group("g") or []
        assert len(found) == 160

    def test_a_member_that_died_with_the_lock_delays_but_does_not_block(
        self, store: ResultCache, cache: BaseCache, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("django_q.results.shelf.LOCK_PATIENCE", 0.02)
        cache.set("default:g:lock", 1, None)
        store.save(ended(1, group="g", cached=True))
        assert len(store.find_group("g") or []) == 1

    def test_a_member_that_waited_in_vain_leaves_the_lock_to_its_holder(
        self, store: ResultCache, cache: BaseCache, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("django_q.results.shelf.LOCK_PATIENCE", 0.02)
        with Shelf(cache, "default").lock("default:g:lock"):
            store.save(ended(1, group="g", cached=True))
            assert cache.has_key("default:g:lock")
        assert not cache.has_key("default:g:lock")


def part(index: int, count: int, result: Any = None, **options: Any) -> Outcome:
    known: dict[str, Any] = {"group": ITER_ID, "cached": True, "iter_count": count}
    own = {"iter_index": index, "task_id": part_id(ITER_ID, index)}
    return ended(result if result is not None else index, **(known | own | options))


def seen(store: ResultCache, part: Outcome) -> list[Any] | None:
    """What it collates; None if it is not its turn."""
    parts = store.parts_of(part.envelope)
    return list(parts.read()) if parts.is_collator() else None


class TestParts:
    @pytest.mark.parametrize(
        "order", [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1]]
    )
    def test_only_the_last_one_sees_all_and_in_the_order_of_the_arguments(
        self, store: ResultCache, order: list[int]
    ) -> None:
        found = []
        for index in order:
            outcome = part(index, 4)
            store.save_part(outcome)
            found.append(seen(store, outcome))
        assert found[:-1] == [None] * 3
        assert [task["result"] for task in found[-1] or []] == [0, 1, 2, 3]

    def test_many_parts(self, store: ResultCache, cache: BaseCache) -> None:
        large = LocMemCache("large", {"max_entries": 10_000})
        store = ResultCache(large, "default")
        for index in range(1001):
            assert seen(store, part(1000, 1001)) is None
            store.save_part(part(index, 1001))
            store.parts_of(part(index, 1001).envelope).is_collator()
        found = seen(store, part(1000, 1001))
        assert [task["result"] for task in found or []] == list(range(1001))

    def test_parts_are_no_group(self, store: ResultCache) -> None:
        store.save_part(part(0, 2))
        assert store.find_group(ITER_ID) is None

    def test_arguments_are_kept_until_the_parts_are_deleted(
        self, store: ResultCache, cache: BaseCache
    ) -> None:
        store.keep_arguments(ITER_ID, [1, (2, 3)])
        store.save_part(part(0, 1))
        assert store.find_arguments(ITER_ID) == [1, (2, 3)]
        package = cache.get(f"default:{ITER_ID}:args")
        assert SignedPackage.loads(package) == [1, (2, 3)]
        assert seen(store, part(0, 1))
        store.parts_of(part(0, 1).envelope).delete()
        assert store.find_arguments(ITER_ID) is None
        assert seen(store, part(0, 1)) is None

    def test_parts_of_an_earlier_release_come_as_they_ended(
        self, store: ResultCache
    ) -> None:
        """Those have a fresh id each and say nothing of their order."""
        old: dict[str, Any] = {"group": ITER_ID, "cached": True, "iter_count": 2}
        first, second = ended("b", **old), ended("a", **old)
        store.save_part(first)
        assert seen(store, first) is None
        store.save_part(second)
        found = seen(store, second) or []
        assert seen(store, first) is None
        assert [task["result"] for task in found] == ["b", "a"]
        store.parts_of(second.envelope).delete()
        assert store.find_group(ITER_ID) is None


def test_ids_of_parts_follow_from_the_iterables() -> None:
    ids = {part_id(ITER_ID, index) for index in range(100)}
    assert len(ids) == 100
    assert part_id(ITER_ID, 7) in ids
    envelope = Envelope.from_call("a.b", (), {}, {"task_id": part_id(ITER_ID, 7)})
    assert envelope.id == part_id(ITER_ID, 7)
