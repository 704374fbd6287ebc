"""The log: its name, its lines, and who decides where it goes."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

import pytest

from django_q.conf import logger
from django_q.logs import attach_console, console_level

LINE = re.compile(r"\d\d:\d\d:\d\d \[Q\] (\w+) (.*)")
HOUSE = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def root() -> Iterator[logging.Logger]:
    """The logger above all others; what a test does to it and to ours is taken back."""
    above = logging.getLogger()
    before = [(each, each.handlers[:], each.level) for each in (above, logger)]
    propagate = logger.propagate
    yield above
    logger.propagate = propagate
    for each, handlers, level in before:
        each.handlers[:] = handlers
        each.setLevel(level)


@contextmanager
def nobody_listens() -> Iterator[None]:
    """As where nobody has configured anything: without the handlers of the test run."""
    above = logging.getLogger()
    handlers, above.handlers[:] = above.handlers[:], []
    try:
        yield
    finally:
        above.handlers[:] = handlers


def said(level: str | int = "INFO") -> list[str]:
    """What a console prints of one record of each kind."""
    stream = StringIO()
    with nobody_listens():
        attach_console(level, stream)
    logger.debug("fetched %d", 3)
    logger.info("running")
    logger.error("failed")
    return stream.getvalue().splitlines()


def test_logger_has_its_old_name() -> None:
    assert logger.name == "django-q"


def test_line_is_time_mark_level_and_message() -> None:
    found = [LINE.fullmatch(line) for line in said("DEBUG")]

    assert [match.groups() for match in found if match] == [
        ("DEBUG", "fetched 3"),
        ("INFO", "running"),
        ("ERROR", "failed"),
    ]


@pytest.mark.parametrize(
    ("level", "lines"),
    [
        ("DEBUG", 3),
        ("INFO", 2),
        ("ERROR", 1),
        ("CRITICAL", 0),
        (10, 3),
        ("40", 1),
        ("LOUD", 2),
    ],
)
def test_level_is_that_of_the_settings(level: str | int, lines: int) -> None:
    assert len(said(level)) == lines


def test_level_reaches_the_processes_of_a_cluster() -> None:
    said("ERROR")

    assert console_level() == "ERROR"


def test_log_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with nobody_listens():
        attach_console("INFO")
    logger.info("running")

    printed = capsys.readouterr()
    assert printed.err.endswith(" [Q] INFO running\n")
    assert printed.out == ""


def test_records_do_not_go_further_up_as_well() -> None:
    said()

    assert not logger.propagate


def test_handler_of_the_project_is_enough() -> None:
    stream = StringIO()
    own = logging.StreamHandler(stream)
    logger.addHandler(own)
    logger.setLevel(logging.WARNING)

    assert said("DEBUG") == []
    assert stream.getvalue() == "failed\n"
    assert console_level() is None


def test_handler_anywhere_above_is_enough(root: logging.Logger) -> None:
    stream, unused = StringIO(), StringIO()
    root.addHandler(logging.StreamHandler(stream))
    logger.setLevel(logging.INFO)

    attach_console("DEBUG", unused)
    logger.debug("fetched")
    logger.info("running")

    assert logger.propagate
    assert stream.getvalue() == "running\n"
    assert unused.getvalue() == ""


def test_import_attaches_nothing() -> None:
    code = (
        "import django, logging; django.setup()\n"
        "import django_q.cluster, django_q.tasks, django_q.dashboard\n"
        "log = logging.getLogger('django-q')\n"
        "print([type(h).__name__ for h in log.handlers], log.level, log.propagate)"
    )
    printed = subprocess.check_output(
        [sys.executable, "-c", code],
        cwd=HOUSE,
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings"},
        text=True,
    )

    assert printed == "['NullHandler'] 0 True\n"
