"""An outcome as column values: nothing in it can break the saving."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from picklefield.fields import dbsafe_decode

from django_q.envelope import Envelope
from django_q.options import Options
from django_q.outcome import Cause
from django_q.results import make_record
from django_q.results.encoding import column_text
from django_q.signals import pre_enqueue
from tests.functions import log_result
from tests.unit.results.making import OPTIONS, decode, ended, record_of


def test_the_columns_of_a_success() -> None:
    outcome = ended(7, group="g", hook=log_result, cluster="mail", kwargs={"x": 1})
    same, record = make_record(outcome, OPTIONS)
    envelope = outcome.envelope
    assert same is outcome
    assert (record.id, record.name) == (envelope.id, envelope.name)
    assert record.func == "tests.functions.add"
    assert record.hook == "tests.functions.log_result"
    assert (record.group, record.cluster) == ("g", "mail")
    assert decode(record.args) == (1, 2)
    assert decode(record.kwargs) == {"x": 1}
    assert decode(record.result) == 7
    assert dbsafe_decode(record.result) == 7
    assert datetime.fromisoformat(record.started) == envelope.started
    assert datetime.fromisoformat(record.stopped) == outcome.stopped
    assert (record.success, record.attempt, record.keep) == (True, 1, True)
    assert (record.pause, record.link, record.cause) == (None, None, "returned")


def test_the_time_it_ran_and_waited() -> None:
    outcome = ended()._replace(ran=2.0)
    later = outcome.envelope.started + timedelta(seconds=5)
    record = record_of(outcome._replace(stopped=later))
    assert (record.ran, record.waited) == (2.0, 3.0)
    assert record_of(outcome).waited == 0


class Stubborn:
    """Its code runs when it is pickled, and ends everything it can."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __reduce__(self) -> Any:
        raise self.error


def nested(depth: int) -> list[Any]:
    inner: list[Any] = []
    for _ in range(depth):
        inner = [inner]
    return inner


@pytest.mark.parametrize(
    "result",
    [
        *(lambda: None, threading.Lock(), (x for x in [1])),
        *(Stubborn(ValueError("no")), Stubborn(SystemExit(1)), nested(100_000)),
        Stubborn(RecursionError()),
    ],
    ids=lambda result: type(result).__name__,
)
def test_a_result_that_can_not_be_stored_makes_a_failure_that_says_so(
    result: Any, caplog: pytest.LogCaptureFixture
) -> None:
    outcome, record = make_record(ended(result, task_name="mine"), OPTIONS)
    assert (outcome.success, outcome.cause) == (False, Cause.RAISED)
    assert not record.success
    assert record.keep
    text = decode(record.result)
    assert text == outcome.result
    assert text.startswith("The result of tests.functions.add can't be stored: ")
    assert record.summary.startswith("UnsendableResult: ")
    assert "[mine]" in caplog.text


def test_a_result_that_is_too_large_makes_a_failure_that_says_so() -> None:
    options = Options(max_result_size=1000)
    outcome, record = make_record(ended("x" * 2000), options)
    assert not outcome.success
    assert "the limit is 1,000" in decode(record.result)
    assert record.summary.startswith("PackageTooLarge: ")
    assert record_of(ended("x" * 500), options).success


def test_a_large_result_is_stored_and_told_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert record_of(ended("x" * 7 * 1024 * 1024)).success
    assert not caplog.records
    assert record_of(ended("x" * 8 * 1024 * 1024)).success
    assert "functions.add [" in caplog.text
    assert "has 11,184,8" in caplog.text


def test_a_result_nobody_wants_is_not_even_looked_at() -> None:
    outcome, record = make_record(ended(threading.Lock(), save=False), OPTIONS)
    assert outcome.success
    assert (record.success, record.keep, record.result) == (True, False, "")


def test_arguments_that_can_not_be_stored_any_more_are_shown() -> None:
    args = (1, threading.Lock(), Stubborn(ValueError()))
    record = record_of(ended(args=args, kwargs={"a": "fine", "b": nested(100_000)}))
    one, lock, stubborn = decode(record.args)
    assert one == 1
    assert lock.startswith("<unlocked _thread.lock")
    assert "Stubborn object" in stubborn
    kwargs = decode(record.kwargs)
    assert kwargs["a"] == "fine"
    assert isinstance(kwargs["b"], str)
    assert record.success


def test_arguments_that_have_grown_beyond_the_limit_are_shown() -> None:
    given: list[int] = []
    outcome = ended(args=(given, "fine"), kwargs={"rows": given})
    given.extend(range(10_000))
    options = Options(name="tests", max_result_size=10_000, max_package_size=5_000)
    record = record_of(outcome, options)
    assert record.success
    assert len(record.args) + len(record.kwargs) < 10_000
    shown, fine = decode(record.args)
    assert (shown[:7], fine) == ("[0, 1, ", "fine")
    assert decode(record.kwargs)["rows"] == shown


def test_arguments_that_a_package_could_bring_are_kept_as_they_are() -> None:
    given = list(range(10_000))
    options = Options(name="tests", max_result_size=1_000)
    assert decode(record_of(ended(args=(given,)), options).args) == (given,)


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("fine ü €", "fine ü €"),
        ("a\0b", "a\\x00b"),
        ("half \ud800 pair", "half \\ud800 pair"),
        ("x" * 300, "x" * 10),
        (5, "5"),
    ],
)
def test_text_for_columns(text: Any, stored: str) -> None:
    assert column_text(text, 10 if len(str(text)) > 100 else 50) == stored
    assert stored.encode()


def test_names_that_no_column_takes() -> None:
    outcome = ended(task_name="n\0" * 200, group="\udcff" * 200)
    envelope = replace(outcome.envelope, func="f" * 400, hook="h" * 400, id="i" * 90)
    envelope = replace(envelope, cluster="c" * 300)
    failed = outcome._replace(envelope=envelope, success=False, result="no")
    record = record_of(failed._replace(cause=Cause.RAISED, summary="s\0" * 500))
    sizes = [record.name, record.group, record.cluster, record.func, record.hook]
    assert [len(text or "") for text in sizes] == [100, 100, 100, 256, 256]
    assert len(record.id) == 32
    assert len(record.summary) == 256
    assert "\0" not in record.name
    assert record.to_bytes()


class TestKeep:
    @pytest.mark.parametrize(
        ("save_limit", "save", "kept"),
        [
            *((250, None, True), (0, None, True), (-1, None, False)),
            *((-1, True, True), (250, False, False)),
        ],
    )
    def test_successes_are_kept_as_settings_and_task_say(
        self, save_limit: int, save: bool | None, kept: bool
    ) -> None:
        options = Options(save_limit=save_limit)
        assert record_of(ended(save=save), options).keep is kept
        assert record_of(ended("no", success=False, save=save), options).keep

    def test_cached_results_make_no_row(self) -> None:
        assert not record_of(ended(cached=True)).keep
        assert not record_of(ended("no", success=False, cached=60)).keep

    def test_a_run_that_will_be_repeated_makes_no_row(self) -> None:
        record = record_of(ended("no", success=False, max_attempts=3))
        assert record.pause is not None
        assert (record.keep, record.attempts_allowed) == (False, 3)
        last = record_of(ended("no", success=False, max_attempts=3, attempt=3))
        assert (last.pause, last.keep) == (None, True)

    def test_a_run_that_is_repeated_for_ever_makes_a_row_each_time(self) -> None:
        failed = ended("no", success=False, attempt=9)
        record = record_of(failed, Options(ack_failures=False, retry=90))
        assert (record.pause, record.keep, record.attempt) == (90, True, 9)
        assert record.attempts_allowed == 0
        assert decode(record.result) == "no"


class TestChain:
    def test_the_next_link_is_sealed(self) -> None:
        first = ended(chain=[("math.sqrt", (4,)), "a.b"], group="g")
        record = record_of(first, Options(name="tests", cluster_name="mail"))
        link = Envelope.open(record.link or "")
        assert (link.func, link.args, link.group) == ("math.sqrt", (4,), "g")
        assert link.chain == ["a.b"]
        assert (record.link_id, record.link_queue) == (link.id, "mail")

    def test_a_link_may_have_a_queue_of_its_own(self) -> None:
        link = ("a.b", (), {"cluster": "import"})
        assert record_of(ended(chain=[link])).link_queue == "import"

    def test_it_goes_on_after_a_success_that_is_not_stored(self) -> None:
        assert record_of(ended(chain=["a.b"], save=False)).link

    def test_it_stops_at_a_failure_unless_told_otherwise(self) -> None:
        assert record_of(ended("no", success=False, chain=["a.b"])).link is None
        goes_on = ended("no", success=False, chain=["a.b"], stop_on_failure=False)
        assert record_of(goes_on).link

    def test_it_waits_for_the_last_attempt(self) -> None:
        options: Any = {"chain": ["a.b"], "stop_on_failure": False, "max_attempts": 2}
        assert record_of(ended("no", success=False, **options)).link is None
        assert record_of(ended("no", success=False, attempt=2, **options)).link

    def test_settings_that_travel_reach_each_link(self) -> None:
        record = record_of(ended(chain=["a.b"]), Options(name="tests", cached=60))
        assert Envelope.open(record.link or "").cached == 60

    def test_a_link_to_what_is_no_text_ends_it(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        def change(task: dict[str, Any], **_: Any) -> None:
            task["cluster"] = b"mail"

        pre_enqueue.connect(change)
        try:
            record = record_of(ended(chain=["a.b"]))
        finally:
            pre_enqueue.disconnect(change)
        assert (record.success, record.link) == (True, None)
        assert "the id and the cluster of a task are text" in caplog.text.lower()

    def test_a_receiver_may_forbid_the_rest(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        def forbid(**_: Any) -> None:
            raise PermissionError("no more")

        pre_enqueue.connect(forbid)
        try:
            record = record_of(ended(chain=["a.b"], task_name="mine"))
        finally:
            pre_enqueue.disconnect(forbid)
        assert (record.link, record.success) == (None, True)
        text = "the chain ends after [mine]: PermissionError: no more"
        assert text in caplog.text


def test_a_failure_shows_its_text() -> None:
    record = record_of(ended("boom \ud800", success=False))
    assert decode(record.result) == "boom \ud800"
    assert record.summary == "boom \\ud800"
    assert (record.cause, record.success) == ("raised", False)
