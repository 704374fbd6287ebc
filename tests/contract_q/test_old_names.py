"""Names of 0.6.4 and 1.3.9, and of modules that others import: all still there."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from importlib import import_module
from typing import Any
from unittest import mock

import pytest
from django.core import signing
from django.core.signing import BadSignature, SignatureExpired
from django.test import override_settings

import django_q
from django_q import admin, conf, core_signing, tasks
from django_q.clock import now
from django_q.conf import Conf
from django_q.exceptions import TimeoutException
from django_q.execution.reporters import ErrorReporter
from django_q.models import Failure, Task
from django_q.signing import PickleSerializer, SignedPackage
from django_q.timeout import TimeoutHandler

TOP_LEVEL = {
    "async_task": "django_q.tasks",
    "count_group": "django_q.tasks",
    "delete_group": "django_q.tasks",
    "fetch": "django_q.tasks",
    "fetch_group": "django_q.tasks",
    "queue_size": "django_q.tasks",
    "result": "django_q.tasks",
    "result_group": "django_q.tasks",
    "schedule": "django_q.tasks",
    "Task": "django_q.models",
    "Schedule": "django_q.models",
    "Success": "django_q.models",
    "Failure": "django_q.models",
    "Cluster": "django_q.cluster",
    "Stat": "django_q.status",
}


# -- the package itself


@pytest.mark.parametrize("name", TOP_LEVEL)
def test_the_package_has_what_it_had_in_0_6_4(name: str) -> None:
    assert getattr(django_q, name) is getattr(import_module(TOP_LEVEL[name]), name)


@pytest.mark.parametrize("module", [django_q, tasks])
def test_async_is_reached_by_getattr(module: Any) -> None:
    assert getattr(module, "async") is tasks.async_task
    with mock.patch.object(tasks, "async_task") as replaced:
        assert getattr(module, "async") is replaced


def test_what_it_never_had_raises() -> None:
    for module in (django_q, tasks):
        with pytest.raises(AttributeError, match="no_such_thing"):
            _ = module.no_such_thing


def test_importing_it_imports_no_more() -> None:
    """Settings modules import it, and it comes before the apps are loaded."""
    code = (
        "import sys, django_q; hasattr(django_q, 'no_such_thing'); "
        "print(*[m for m in sys.modules if m.startswith(('django_q.', 'django.'))])"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == ""
    assert django_q.VERSION[:2] == (1, 0)


def test_async_task_class_under_its_old_name() -> None:
    assert tasks.Async is tasks.AsyncTask  # type: ignore[attr-defined]


# -- models and admin


def test_retry_failed_of_the_admin() -> None:
    assert admin.retry_failed is admin.resubmit_task


@pytest.mark.parametrize(
    ("result", "short"),
    [(None, "None"), (12, "12"), ("x" * 101, "x" * 100), ({"a": 1}, "{'a': 1}")],
)
def test_short_result_of_a_task(result: Any, short: str) -> None:
    assert Task(result=result).short_result == short


@pytest.mark.django_db
def test_short_result_of_a_stored_failure() -> None:
    Task.objects.create(
        id="a" * 32, func="a.b", started=now(), stopped=now(), success=False, result="e"
    )
    assert Failure.objects.get().short_result == "e"


# -- core_signing


def test_core_signing_opens_a_package() -> None:
    package = SignedPackage.dumps({"id": 1})
    opened = core_signing.loads(
        package,
        key=Conf.SECRET_KEY,
        salt=Conf.PREFIX,
        serializer=PickleSerializer,
    )
    assert opened == {"id": 1}


@pytest.mark.parametrize("compress", [False, True])
def test_a_package_made_with_core_signing_is_opened(compress: bool) -> None:
    package = core_signing.dumps(
        ["x" * 99],
        key=Conf.SECRET_KEY,
        salt=Conf.PREFIX,
        serializer=PickleSerializer,
        compress=compress,
    )
    assert SignedPackage.loads(package) == ["x" * 99]


def test_core_signing_is_djangos() -> None:
    assert signing.loads(core_signing.dumps([1])) == [1]
    assert core_signing.loads(signing.dumps([1])) == [1]


@pytest.mark.parametrize("kind", ["Signer", "TimestampSigner"])
def test_signers_take_their_arguments_by_position(kind: str) -> None:
    ours, djangos = getattr(core_signing, kind), getattr(signing, kind)
    signed = ours("key", "/", "salt").sign("value")
    assert djangos(key="key", sep="/", salt="salt").unsign(signed) == "value"
    with pytest.raises(BadSignature):
        ours("other", "/", "salt").unsign(signed)
    assert ours().unsign(ours().sign("value")) == "value"
    with pytest.raises(BadSignature):
        djangos().unsign(ours().sign("value"))


def test_a_timestamp_signer_knows_the_age() -> None:
    signer = core_signing.TimestampSigner()
    signed = signer.sign("value")
    assert signer.unsign(signed, max_age=60) == "value"
    with pytest.raises(SignatureExpired):
        signer.unsign(signed, max_age=-1)


# -- timeout


def test_a_block_that_takes_too_long_is_interrupted() -> None:
    with (
        pytest.raises(TimeoutException, match=r"timeout value \(0.01 seconds\)"),
        TimeoutHandler(0.01),
    ):
        time.sleep(30)


def test_except_exception_does_not_catch_it() -> None:
    def careful() -> None:
        with TimeoutHandler(0.01):
            try:
                time.sleep(30)
            except Exception:  # noqa: BLE001 - that is the question
                pytest.fail("caught")

    with pytest.raises(TimeoutException):
        careful()


@pytest.mark.parametrize("limit", [None, 0, -1])
def test_no_limit_is_none(limit: float | None) -> None:
    with TimeoutHandler(limit):
        assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_what_was_there_before_is_put_back() -> None:
    def ring(*_: Any) -> None: ...

    former = signal.signal(signal.SIGALRM, ring)
    try:
        with TimeoutHandler(60):
            with pytest.raises(TimeoutException), TimeoutHandler(0.01):
                time.sleep(30)
            assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 60
        assert signal.getsignal(signal.SIGALRM) is ring
        assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    finally:
        signal.signal(signal.SIGALRM, former)


def test_in_another_thread_there_is_no_limit() -> None:
    ended = []

    def block() -> None:
        with TimeoutHandler(0.001):
            time.sleep(0.01)
        ended.append(True)

    thread = threading.Thread(target=block)
    thread.start()
    thread.join()
    assert ended == [True]


def test_its_own_end_is_never_interrupted() -> None:
    """Alarms of all lengths around that of the block: each one hits somewhere else."""
    for step in range(300):
        try:
            with TimeoutHandler(0.0001 + step * 2e-7):
                sum(range(2000))
        except TimeoutException:
            pass
        assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


# -- names of django_q.conf about error reporters


def test_without_reporters_there_is_none() -> None:
    assert conf.error_reporter is None
    with override_settings(Q_CLUSTER={"error_reporter": {"nobody": {}}}):
        assert conf.error_reporter is None
    assert conf.ErrorReporter is ErrorReporter
