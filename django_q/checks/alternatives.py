"""Alternative clusters that have a broker of their own: the same as for the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from django.core.checks import CheckMessage

from django_q.checks import clients, meaning
from django_q.checks.messages import warning
from django_q.options import PLACE

CHOOSING: Final = frozenset(PLACE) - {"cache"}


def judge_brokers(
    raw: Mapping[str, Any], databases: Mapping[str, Any]
) -> Iterator[CheckMessage]:
    """The broker of each cluster that overrides a setting of it."""
    times = {key: raw.get(key) for key in ("retry", "timeout")}
    for where, overrides in _with_brokers(raw):
        merged = {**raw, **overrides}
        yield from _judge_effect(overrides, merged, where)
        yield from meaning.judge_brokers({**times, **overrides}, where)
        yield from clients.judge_client(merged, where)
        yield from clients.judge_redis(overrides, where)
        yield from meaning.judge_database(merged, databases, where)


def judge_atomic(raw: Mapping[str, Any], results: str) -> Iterator[CheckMessage]:
    """Each cluster that overrides the broker, or what is asked of it."""
    for where, overrides in _overrides(raw):
        if ({"atomic"} | CHOOSING) & overrides.keys():
            yield from meaning.judge_atomic({**raw, **overrides}, results, where)


def judge_exposure(
    raw: Mapping[str, Any], caches: Mapping[str, Any]
) -> Iterator[CheckMessage]:
    """The way to it, on a machine that serves the public."""
    for where, overrides in _with_brokers(raw):
        yield from clients.judge_exposure({**raw, **overrides}, caches, where)


def _with_brokers(
    raw: Mapping[str, Any],
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The overrides that choose or reach a broker, and where they stand."""
    for where, overrides in _overrides(raw):
        if CHOOSING & overrides.keys():
            yield where, overrides


def _overrides(raw: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    found = raw.get("ALT_CLUSTERS")
    alternatives = found if isinstance(found, Mapping) else {}
    for cluster, overrides in alternatives.items():
        if isinstance(overrides, Mapping):
            yield f"Q_CLUSTER['ALT_CLUSTERS'][{cluster!r}]", overrides


def _judge_effect(
    overrides: Mapping[str, Any], merged: Mapping[str, Any], where: str
) -> Iterator[CheckMessage]:
    """A broker that is named in vain: another one of the base settings wins."""
    wins = meaning.named_brokers(merged)[:1]
    named = meaning.named_brokers(overrides)
    if named and wins[0] not in overrides:
        message = f"{where} names {named[0]!r}, but {wins[0]!r} of Q_CLUSTER is used."
        yield warning("W013", message, f"Write {wins[0]!r}: None beside it.")
