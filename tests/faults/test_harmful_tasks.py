"""Rows 19 to 30: what a task does to its worker, and what it leaves behind."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from django_q.tasks import result
from tests import functions
from tests.acceptance import functions as acts
from tests.faults import harmful
from tests.faults.company import Company, End
from tests.functions import words

row = pytest.mark.row

GRACE = 1
MEGABYTES = 1024 * 1024
CLUSTER = {
    "timeout": 30,
    "timeout_grace": GRACE,
    "max_result_size": 70 * MEGABYTES,
}
COMPLAINTS = "return hook"


# ------------------------------------------------------------------------- deaths


@row(19, "task exits or segfaults")
def test_row_19_task_exits_or_segfaults(company: Company) -> None:
    with company.beside():
        leaves = company.cluster.send(harmful.leave_with_seven, company.harm)
        crashes = company.cluster.send(acts.crash, company.harm)
    company.count_unharmed(within=5)
    for task_id, reason in ((leaves, "exit code 7"), (crashes, "signal 11")):
        text = company.failure_of(task_id)
        assert reason in text
        assert "after 3 deliveries" in text
    assert words(company.harm) == ["ran"] * 2 * 3
    for func in ("harmful.leave_with_seven", "functions.crash"):
        died = rf"ERROR worker .*\b({REASONS}).* while running .*{func}"
        company.wait_for_lines(died, 3)
        company.wait_for_lines(rf"ERROR ✕ .*{func} .*({REASONS}).*3 deliveries", 1)


REASONS = "exit code 7|died by signal 11"


@row(20, "task is killed for want of memory")
def test_row_20_oom_kill(company: Company) -> None:
    with company.beside():
        eats = company.cluster.send(harmful.eat_memory_and_be_killed, company.harm)
    company.count_unharmed(within=5)
    text = company.failure_of(eats)
    assert "signal 9" in text
    assert "memory" in text
    assert "after 3 deliveries" in text
    assert words(company.harm) == ["ran"] * 3
    company.wait_for_lines("ERROR worker .* died by signal 9.*memory.*harmful.eat_", 3)


# ------------------------------------------------------------------------- errors


@row(21, "MemoryError, RecursionError")
def test_row_21_memory_error_and_recursion_error(company: Company) -> None:
    workers = company.workers()
    with company.beside():
        greedy = company.cluster.send(harmful.ask_for_too_much)
        deep = company.cluster.send(acts.recurse)
    company.count_unharmed()
    for task_id, error in ((greedy, "MemoryError"), (deep, "RecursionError")):
        text = company.failure_of(task_id)
        assert "Traceback" in text
        assert error in text
        company.wait_for_lines(f"ERROR ✕ .* failed: {error}")
    assert company.workers() == workers


@row(22, "SystemExit, KeyboardInterrupt in a task")
def test_row_22_exits_and_interrupts_are_failures(company: Company) -> None:
    workers = company.workers()
    with company.beside():
        leaves = company.cluster.send(functions.leave, 3)
        stops = company.cluster.send(acts.raise_this, "KeyboardInterrupt")
    company.count_unharmed()
    for task_id, error in ((leaves, "SystemExit"), (stops, "KeyboardInterrupt")):
        text = company.failure_of(task_id)
        assert "Traceback" in text
        assert error in text
    company.wait_for_lines("ERROR ✕ tests.functions.leave .* failed: SystemExit: 3")
    assert company.workers() == workers


@row(25, "exception that cannot be pickled or printed")
def test_row_25_strange_exceptions(company: Company) -> None:
    workers = company.workers()
    with company.beside():
        dumb = company.cluster.send(functions.fail_unprintably)
        fixed = company.cluster.send(functions.fail_unpicklably)
    company.count_unharmed()
    assert "Unprintable without text" in company.failure_of(dumb)
    assert "cannot be pickled" in company.failure_of(fixed)
    for func in ("fail_unprintably", "fail_unpicklably"):
        company.wait_for_lines(rf"ERROR.*functions\.{func} ", 1)
    assert company.workers() == workers


@row(29, "function missing, import fails")
def test_row_29_function_that_is_none(company: Company) -> None:
    workers = company.workers()
    paths = {
        "tests.nowhere.add": "tests has no 'nowhere'",
        "tests.functions.missing": "missing",
        "tests.acceptance.raises_on_import.task": "this module is broken",
        "tests.acceptance.leaves_on_import.task": "leaves_on_import",
    }
    with company.beside():
        ids = {path: company.cluster.send(path) for path in paths}
    company.count_unharmed()
    for path, reason in paths.items():
        assert reason in company.failure_of(ids[path])
        company.wait_for_lines(rf"ERROR ✕ {re.escape(path)} .* failed: ", 1)
    assert company.workers() == workers


# ----------------------------------------------------------------------- timeouts


@row(23, "timeout")
def test_row_23_timeout(company: Company) -> None:
    workers = company.workers()
    with company.beside():
        arguments = (functions.log_and_sleep, company.harm, "long", 30)
        task_id = company.cluster.send(*arguments, timeout=1)
    company.count_unharmed(within=5)
    text = company.failure_of(task_id)
    assert "exceeded maximum timeout value (1 seconds)" in text
    assert company.length_of(task_id) <= 1 + 2
    assert words(company.harm) == ["start:long"]
    company.wait_for_lines("ERROR ✕ .*log_and_sleep .* failed: Timeout.*exceeded")
    assert company.workers() == workers


@row(24, "task ignores signals, or blocks in C")
def test_row_24_task_that_does_not_end(company: Company) -> None:
    with company.beside():
        deaf = company.cluster.send(functions.swallow, 60, timeout=0.5)
        stuck = company.cluster.send(acts.block_in_c, company.harm, timeout=0.5)
    company.count_unharmed()
    for task_id in (deaf, stuck):
        text = company.failure_of(task_id)
        assert "Ran past its limit" in text
        assert company.length_of(task_id) <= 0.5 + 6
    assert words(company.harm) == ["ran"]
    for func in ("swallow", "block_in_c"):
        company.wait_for_lines(rf"ERROR .*{func} \[.* exceeded .*; worker killed")


# ------------------------------------------------------------------------ results


@row(26, "result that cannot be pickled, or is too deep")
def test_row_26_result_that_cannot_be_stored(company: Company) -> None:
    workers = company.workers()
    with company.beside():
        closed = company.cluster.send(functions.unpicklable)
        deep = company.cluster.send(acts.nest, 100_000)
    company.count_unharmed()
    for task_id in (closed, deep):
        assert "can't be stored" in company.failure_of(task_id)
    company.wait_for_lines("ERROR The result of .* can't be stored", 2)
    assert company.workers() == workers


@row(27, "result that does not load, NUL, surrogates")
def test_row_27_result_that_harms_its_reader(
    company: Company, administrator: Client
) -> None:
    workers = company.workers()
    texts = {"zero byte": "a\0b", "half a character": "\ud800"}
    with company.beside():
        kept = {kind: company.cluster.send(acts.give, kind) for kind in texts}
        bad = company.cluster.send(acts.give, "refuses to load")
        options = {"task_name": "n\0", "group": "g\ud800"}
        named = company.cluster.send(functions.nothing, **options)
    company.count_unharmed()
    for task_id in (*kept.values(), bad, named):
        assert company.end_of(task_id).success
    assert {kind: result(task_id) for kind, task_id in kept.items()} == texts
    tasks = "admin:django_q_success_change"
    pages = [reverse(tasks, args=[t]) for t in (*kept.values(), bad, named)]
    for page in (reverse("admin:django_q_success_changelist"), *pages):
        assert administrator.get(page).status_code == 200
    assert company.workers() == workers


@row(28, "result of 50 MB")
def test_row_28_large_result(company: Company) -> None:
    workers = company.workers()
    with company.beside():
        large = company.cluster.send(functions.big, 50 * MEGABYTES)
    company.count_unharmed(within=5)
    if company.place.kind == "orm-mariadb":
        assert "max_allowed_packet is 16,777,216" in company.failure_of(large)
    else:
        assert company.end_of(large).success
    company.wait_for_lines(r"WARNING .* result .*69,9\d\d,\d\d\d bytes")
    larger = company.cluster.send(functions.big, 53 * MEGABYTES)
    text = company.failure_of(larger)
    assert re.search(r"can't be stored: it needs 74,\d\d\d,\d\d\d bytes", text)
    assert company.workers() == workers


@pytest.fixture
def administrator() -> Iterator[Client]:
    user = User.objects.create_superuser("administrator", password="x")
    client = Client()
    client.force_login(user)
    yield client
    user.delete()


# -------------------------------------------------------------------------- hooks


@row(30, "hook raises, exits, hangs")
def test_row_30_harmful_hooks(company: Company) -> None:
    reasons = {
        "tests.functions.broken_hook": "hook of",
        "tests.faults.harmful.hook_that_leaves": "SystemExit: 3",
        "tests.faults.harmful.hook_that_hangs": "TimeoutException: .* exceeded",
    }
    with company.beside():
        ids = [send_with_hook(company, hook) for hook in reasons]
    company.count_unharmed(saved=2)
    for hook, reason in reasons.items():
        company.wait_for_lines(rf"ERROR return hook {hook} failed on .*{reason}")
    # With a worker die the hooks that it has not called yet.
    with company.beside():
        ids.append(send_with_hook(company, "tests.faults.harmful.hook_that_dies"))
    company.count_unharmed(saved=2)
    company.wait_for_lines("ERROR worker .* ended with exit code 7; replaced")
    for task_id in ids:
        assert company.end_of(task_id) == End(success=True, attempts=1)
    done = words(company.harm)
    assert (done.count("ran"), done.count("hook")) == (len(ids), 3)


def send_with_hook(company: Company, hook: str) -> str:
    options = {"hook": hook, "timeout": 1}
    return company.cluster.send(functions.log, company.harm, **options)
