"""Vital signs through a Django cache, for brokers that have no place of their own."""

from __future__ import annotations

from django.core.cache import BaseCache, InvalidCacheBackendError, caches
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.locmem import LocMemCache

from django_q.conf import get_options


def find_cache(alias: str) -> BaseCache | None:
    """The Django cache of this alias, if there is one."""
    try:
        return caches[alias]
    except InvalidCacheBackendError:
        return None


def is_shared(cache: BaseCache | None) -> bool:
    """Whether other processes may see what is in this cache."""
    return cache is not None and not isinstance(cache, DummyCache | LocMemCache)


def set_stat(cache: BaseCache | None, key: str, value: str, timeout: float) -> None:
    """Keep a value for `timeout` seconds.

    A new key is added to the list of keys, from which dead ones are dropped then. Two
    clusters that do so at once may lose one: its next sign adds it again.
    """
    if cache is None:
        return
    registered = _registered(cache)
    if key not in registered:
        alive = list(cache.get_many(registered))
        cache.set(_list_key(), [*alive, key], timeout=None)
    cache.set(key, value, timeout)


def get_stat(cache: BaseCache | None, key: str) -> str | None:
    """The value under this key, if it is not too old."""
    if cache is None:
        return None
    value: str | None = cache.get(key)
    return value


def get_stats(cache: BaseCache | None, pattern: str) -> list[str] | None:
    """The values of all living keys that the pattern `start*` fits; None: no cache."""
    if cache is None:
        return None
    registered = _registered(cache)
    found = cache.get_many(registered)
    if len(found) < len(registered):
        cache.set(_list_key(), list(found), timeout=None)
    start = pattern.removesuffix("*")
    return [value for key, value in found.items() if key.startswith(start)]


def _registered(cache: BaseCache) -> list[str]:
    return cache.get(_list_key()) or []


def _list_key() -> str:
    return get_options().stat_prefix
