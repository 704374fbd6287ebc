"""Vital signs in a Django cache."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.core.cache.backends.locmem import LocMemCache

from django_q.brokers import stats

KEYS = "django_q:tests:cluster"


class CountingCache(LocMemCache):
    """A cache in memory that knows how often each key was written."""

    def __init__(self) -> None:
        super().__init__("test_stats", {})
        self.written: list[str] = []

    def set(self, key: str, value: object, *args: object, **named: object) -> None:
        self.written.append(key)
        super().set(key, value, *args, **named)  # type: ignore[arg-type]


@pytest.fixture
def cache() -> Iterator[CountingCache]:
    cache = CountingCache()
    yield cache
    cache.clear()


def test_unknown_alias_is_no_cache():
    assert stats.find_cache("default") is not None
    assert stats.find_cache("nowhere") is None


def test_without_cache_nothing_is_known():
    stats.set_stat(None, f"{KEYS}:1", "a", 3)
    assert stats.get_stat(None, f"{KEYS}:1") is None
    assert stats.get_stats(None, f"{KEYS}:*") is None


def test_signs_are_found_by_key_and_by_pattern(cache: CountingCache):
    stats.set_stat(cache, f"{KEYS}:1", "a", 60)
    stats.set_stat(cache, f"{KEYS}:2", "b", 60)
    assert stats.get_stat(cache, f"{KEYS}:1") == "a"
    assert stats.get_stats(cache, f"{KEYS}:*") == ["a", "b"]
    assert stats.get_stats(cache, f"{KEYS}:2*") == ["b"]


def test_list_of_keys_is_where_earlier_releases_look_for_it(cache: CountingCache):
    stats.set_stat(cache, f"{KEYS}:1", "a", 60)
    assert cache.get(KEYS) == [f"{KEYS}:1"]


def test_known_key_does_not_rewrite_the_list(cache: CountingCache):
    for _ in range(3):
        stats.set_stat(cache, f"{KEYS}:1", "a", 60)
    assert cache.written.count(KEYS) == 1


def test_new_key_drops_dead_ones(cache: CountingCache):
    stats.set_stat(cache, f"{KEYS}:dead", "a", 60)
    cache.delete(f"{KEYS}:dead")
    stats.set_stat(cache, f"{KEYS}:new", "b", 60)
    assert cache.get(KEYS) == [f"{KEYS}:new"]


def test_dead_keys_are_dropped_by_reading(cache: CountingCache):
    stats.set_stat(cache, f"{KEYS}:1", "a", 60)
    stats.set_stat(cache, f"{KEYS}:2", "b", 60)
    cache.delete(f"{KEYS}:1")
    assert stats.get_stats(cache, f"{KEYS}:*") == ["b"]
    assert cache.get(KEYS) == [f"{KEYS}:2"]
