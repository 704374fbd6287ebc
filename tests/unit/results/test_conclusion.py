"""What an ended run leaves: a record, a cached result, a collated iterable."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import caches

from django_q.options import Options
from django_q.outcome import Cause
from django_q.results import conclude, open_cache
from tests.unit.results.making import OPTIONS, decode, ended
from tests.unit.results.test_result_cache import ITER_ID, part


@pytest.fixture(autouse=True)
def empty_cache() -> Iterator[None]:
    caches["default"].clear()
    yield
    caches["default"].clear()


def test_an_ordinary_end_leaves_a_record() -> None:
    outcome, record = conclude(ended(3), OPTIONS)
    assert (outcome.success, record.keep, decode(record.result)) == (True, True, 3)


def test_a_cached_end_is_in_the_cache_and_in_no_row() -> None:
    outcome, record = conclude(ended(3, cached=True), OPTIONS)
    assert not record.keep
    found = open_cache(OPTIONS).find(outcome.envelope.id) or {}
    assert (found["result"], found["success"]) == (3, True)


def test_the_cache_has_the_key_of_the_broker() -> None:
    outcome, _ = conclude(ended(3, cached=True), OPTIONS, "django_q:mail:q")
    assert caches["default"].get(f"django_q:mail:q:{outcome.envelope.id}")


def test_a_cached_run_that_will_be_repeated_leaves_nothing() -> None:
    failed = ended("no", success=False, cached=True, max_attempts=2)
    _, record = conclude(failed, OPTIONS)
    assert record.pause is not None
    assert open_cache(OPTIONS).find(failed.envelope.id) is None


def test_a_cached_run_that_is_repeated_for_ever_is_seen() -> None:
    failed = ended("no", success=False, cached=True)
    options = Options(name="tests", ack_failures=False)
    _, record = conclude(failed, options)
    assert record.pause is not None
    assert (open_cache(options).find(failed.envelope.id) or {})["result"] == "no"


def test_a_cached_result_that_can_not_be_stored_is_a_failure() -> None:
    outcome, record = conclude(ended(threading.Lock(), cached=True), OPTIONS)
    assert not outcome.success
    found = open_cache(OPTIONS).find(outcome.envelope.id) or {}
    assert "can't be stored" in found["result"]
    assert not record.keep


def test_without_such_a_cache_the_result_goes_into_the_database(
    caplog: pytest.LogCaptureFixture,
) -> None:
    options = Options(cache="nowhere")
    outcome, record = conclude(ended(3, cached=True, task_name="mine"), options)
    assert outcome.success
    assert (record.keep, decode(record.result), decode(record.args)) == (
        True,
        3,
        (1, 2),
    )
    assert (
        "the result of [mine] can't be cached: CACHES has no 'nowhere'" in caplog.text
    )


class TestIterable:
    def conclude_all(self, order: list[int], **options: Any) -> Any:
        open_cache(OPTIONS).keep_arguments(ITER_ID, [10, 20, (30,)])
        endings = [
            conclude(part(index, 3, (index + 1) * 10, **options), OPTIONS)
            for index in order
        ]
        for outcome, record in endings[:-1]:
            assert not record.keep
            assert outcome.last_part is None
        return endings[-1]

    def test_the_last_part_gives_the_record_of_the_whole(self) -> None:
        options = {"iter_hook": "a.b", "iter_group": "theirs", "task_name": "n"}
        outcome, record = self.conclude_all([2, 0, 1], **options)
        assert (record.id, record.keep, record.success) == (ITER_ID, True, True)
        assert decode(record.result) == [10, 20, 30]
        assert decode(record.args) == [10, 20, (30,)]
        assert (record.hook, record.group, record.name) == ("a.b", "theirs", "n")
        assert outcome.last_part is not None
        assert outcome.last_part.envelope.iter_index == 1
        assert outcome.result == [10, 20, 30]

    def test_the_whole_may_be_cached(self) -> None:
        _, record = self.conclude_all([0, 1, 2], iter_cached=60)
        assert not record.keep
        found = open_cache(OPTIONS).find(ITER_ID) or {}
        assert found["result"] == [10, 20, 30]

    def test_failed_parts_contribute_their_error(self) -> None:
        for index in (0, 1):
            conclude(part(index, 3, "boom", success=index != 1), OPTIONS)
        outcome, record = conclude(part(2, 3), OPTIONS)
        assert decode(record.result) == ["boom", "boom", 2]
        assert decode(record.args) == [(1, 2), (1, 2), (1, 2)]
        assert outcome.success

    def test_a_failed_last_part_makes_a_failure_that_is_not_repeated(self) -> None:
        options = Options(max_attempts=2)
        conclude(part(0, 2), options)
        failed = part(1, 2, "boom", success=False, attempt=2)
        outcome, record = conclude(failed, options)
        assert (outcome.success, outcome.cause) == (False, Cause.RAISED)
        assert (record.success, record.keep, record.pause) == (False, True, None)
        assert (record.attempt, decode(record.result)) == (1, [0, "boom"])

    def test_a_whole_that_is_too_large_is_a_failure_that_says_so(self) -> None:
        options = Options(name="tests", max_result_size=2500)
        conclude(part(0, 2, "x" * 1000), options)
        failed = part(1, 2, "y" * 1000, success=False)
        outcome, record = conclude(failed, options)
        assert "the limit is 2,500" in decode(record.result)
        assert (record.id, record.success, outcome.success) == (ITER_ID, False, False)

    def test_a_part_that_is_too_large_for_the_cache_holds_up_no_other(
        self, q_settings: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        q_settings(max_package_size=2000)
        outcome, record = conclude(part(0, 2, "x" * 5000, task_name="mine"), OPTIONS)
        assert (outcome.success, record.keep) == (True, False)
        assert "part [mine]: The cache did not keep" in caplog.text
        _, record = conclude(part(1, 2), OPTIONS)
        lost, kept = decode(record.result)
        assert (record.id, kept) == (ITER_ID, 1)
        assert "too large" in lost

    def test_a_whole_that_is_too_large_for_the_cache_goes_into_the_database(
        self, q_settings: Any
    ) -> None:
        q_settings(max_package_size=2000)
        conclude(part(0, 2, "x" * 1000, iter_cached=True), OPTIONS)
        outcome, record = conclude(part(1, 2, "y" * 1000, iter_cached=True), OPTIONS)
        assert (record.id, record.keep) == (ITER_ID, True)
        assert decode(record.result) == ["x" * 1000, "y" * 1000]
        assert outcome.last_part is not None

    def test_a_collator_that_runs_again_gives_the_same_record(self) -> None:
        """Its worker may have died before the record was saved."""
        _, first = self.conclude_all([0, 1, 2])
        _, second = conclude(part(2, 3, 30), OPTIONS)
        assert (second.id, second.result) == (first.id, first.result)

    def test_any_other_part_that_runs_again_gives_none(self) -> None:
        self.conclude_all([0, 1, 2])
        outcome, record = conclude(part(1, 3, 20), OPTIONS)
        assert (outcome.last_part, record.keep) == (None, False)
