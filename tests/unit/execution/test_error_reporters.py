"""Error reporters: found by entry point, told where the exception is handled."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from django_q import conf
from django_q.envelope import Envelope
from django_q.execution import Runner
from django_q.execution.reporters import load_reporters
from django_q.options import Options

PLUGINS = """
import sys

class Good:
    def __init__(self, **keywords):
        self.keywords = keywords
        self.seen = []
        Good.last = self

    def report(self):
        kind, error, where = sys.exc_info()
        while where.tb_next and "task" not in where.tb_frame.f_locals:
            where = where.tb_next
        self.seen.append((kind, str(error), where.tb_frame.f_locals["task"]["name"]))

class Bad:
    def report(self):
        raise SystemExit("bad reporter")

class Broken:
    def __init__(self):
        raise ValueError("no key")
"""

ENTRY_POINTS = """
[djangoq.errorreporters]
good = reporter_plugins:Good
bad = reporter_plugins:Bad
broken = reporter_plugins:Broken
missing = no_such_plugin:Reporter
"""


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    (tmp_path / "reporter_plugins.py").write_text(PLUGINS)
    info = tmp_path / "reporter_plugins-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: reporter-plugins\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(tmp_path)
    yield __import__("reporter_plugins")
    del sys.modules["reporter_plugins"]


def run(settings: dict[str, Any], func: str, **options: Any) -> None:
    runner = Runner(Options(error_reporter=settings))
    envelope = Envelope.from_call(func, (), {}, {"task_name": "mine", **options})
    runner.execute(envelope)


def test_without_settings_there_is_none() -> None:
    assert load_reporters({}) is None
    assert load_reporters({"nobody": {}}) is None


def test_reporters_are_told_of_errors_and_timeouts(plugins: Any) -> None:
    run({"good": {"key": "k"}}, "tests.functions.fail")
    assert plugins.Good.last.keywords == {"key": "k"}
    assert plugins.Good.last.seen == [(ValueError, "on purpose", "mine")]
    run({"good": None}, "tests.functions.sleep", timeout=0.02)
    kind, _, name = plugins.Good.last.seen[0]
    assert (kind.__name__, name) == ("TimeoutException", "mine")
    run({"good": {}}, "tests.functions.add")
    assert plugins.Good.last.seen == []


def test_one_that_fails_does_not_silence_the_others(
    plugins: Any, caplog: pytest.LogCaptureFixture
) -> None:
    names = ["broken", "missing", "bad", "good", "nobody"]
    run({name: {} for name in names}, "tests.functions.fail")
    assert len(plugins.Good.last.seen) == 1
    assert "error reporter 'broken' can't be loaded" in caplog.text
    assert "error reporter 'missing' can't be loaded" in caplog.text
    assert "error reporter Bad failed: SystemExit: bad reporter" in caplog.text


def test_the_settings_own_reporters_are_in_conf(plugins: Any, q_settings: Any) -> None:
    q_settings(error_reporter={"good": {"key": "k"}})
    reporter = conf.error_reporter
    assert isinstance(reporter, conf.ErrorReporter)
    (target,) = reporter.targets
    assert target.keywords == {"key": "k"}
    assert conf.error_reporter is reporter
    q_settings(error_reporter={})
    assert conf.error_reporter is None
