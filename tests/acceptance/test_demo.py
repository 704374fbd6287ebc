"""demo.py: what the README promises, with this Python and its packages."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests import environment
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("django_q", "docs", "example_project", "tests")
FILES = ("README.rst", "setup.py")
LEFT_OUT = shutil.ignore_patterns(
    "__pycache__", "_build", ".secret", "*.sqlite3*", "*.log", "media", "mail"
)
OLD_PYTHONS = ("3.10", "3.9", "3.8")


class Demo:
    """The demo in a copy of the repository; what it starts can be told by the path."""

    def __init__(self, copy: Path) -> None:
        self.copy = copy
        self.output = copy / "output"

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "example_project/demo.py", "--no-venv", *arguments]
        around = {k: v for k, v in os.environ.items() if k != "EXAMPLE_FILES"}
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                cwd=self.copy,
                env=around | {"PYTHONIOENCODING": "utf-8"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        return self.process

    def end(self, within: float = 120.0) -> int:
        """Wait until it has ended; gives the exit code."""
        return self.process.wait(within)

    def words(self) -> str:
        return self.output.read_text(encoding="utf-8")

    def log(self) -> str:
        """What the commands behind its steps have said."""
        return (self.copy / "example_project" / "demo.log").read_text(encoding="utf-8")

    def says(self, text: str) -> bool:
        if self.process.poll() is not None and text not in self.words():
            raise AssertionError(f"{text!r} was never said:\n{self.words()}")
        return text in self.words()

    def processes(self) -> list[psutil.Process]:
        """Everything that runs in the copy or from it."""
        return [each for each in psutil.process_iter() if self.is_ours(each)]

    def is_ours(self, process: psutil.Process) -> bool:
        with suppress(psutil.Error):
            said = [*process.cmdline(), process.cwd()]
            return any(str(self.copy) in text for text in said)
        return False


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    copy = tmp_path / "copy"
    for part in PARTS:
        if (ROOT / part).exists():
            shutil.copytree(ROOT / part, copy / part, ignore=LEFT_OUT)
    for file in FILES:
        shutil.copy(ROOT / file, copy)
    demo = Demo(copy)
    yield demo
    for process in demo.processes():
        with suppress(psutil.Error):
            process.kill()


def test_headless_demo_brings_every_outcome_and_leaves_nobody_behind(demo):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        demo.start("--headless", "--workers", "2", "--port", str(port))
        code = demo.end()
    words = demo.words()
    assert code == 0, words
    assert f"({port} is taken)" in words
    for expected in (
        "math.copysign(2, -2)                   ✓ -2.0",
        "████████████████████  40/40",
        "████████████████████  1000/1000",
        "✕ ValueError: cannot identify image file 'cat.txt'",
        "↻ ↻ ✓ opened at knock 3",
        "✓ 0 expired left; next run at",
        "Every expected outcome came.",
    ):
        assert expected in words
    assert demo.processes() == []
    assert len(list((demo.copy / "example_project" / "mail").iterdir())) > 1


def test_demo_runs_until_it_is_stopped_and_leaves_nobody_behind(demo):
    demo.start("--workers", "2")
    wait_until(lambda: demo.says("Stop        Ctrl-C"), within=60)
    url = next(word for word in demo.words().split() if word.startswith("http://"))
    with urllib.request.build_opener().open(url, timeout=10) as page:
        assert b"No cluster is running" not in page.read()
    demo.process.send_signal(signal.SIGINT)
    # The countdown would take a minute; the second signal gives it 5 s.
    wait_until(lambda: " stopping: " in demo.log(), within=10)
    demo.process.send_signal(signal.SIGTERM)
    assert demo.end(within=30) == 0
    assert "Stopped. Everything is in example_project/" in demo.words()
    assert demo.processes() == []


def test_demo_ended_during_its_set_up_leaves_nobody_behind(demo):
    demo.start()
    wait_until(lambda: demo.says("[1/4]"), within=30)
    demo.process.terminate()
    assert demo.end(within=30) == 128 + signal.SIGTERM
    assert demo.processes() == []


def test_broken_site_is_one_sentence_and_the_rest_in_the_log(demo):
    settings = demo.copy / "example_project" / "website" / "settings.py"
    settings.write_text("raise RuntimeError('not today')\n")
    demo.start()
    assert demo.end() == 1
    assert "The database can't be made: RuntimeError: not today." in demo.words()
    assert "Traceback" not in demo.words()
    assert "Traceback" in demo.log()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--port", "99999"), "'99999' is not a port: 1 to 65535"),
        (("--workers", "0"), "'0' is not a number of workers"),
    ],
)
def test_wrong_option_is_named(demo, arguments, sentence):
    demo.start(*arguments)
    assert demo.end() == 2
    assert sentence in demo.words()


def test_old_python_is_told_which_one_is_needed():
    old = next(old_pythons(), None)
    if old is None:
        pytest.skip("there is no Python older than 3.11 here")
    script = ROOT / "example_project" / "demo.py"
    done = subprocess.run([old, script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "django-q needs Python 3.11 or newer; this is 3." in done.stderr


def old_pythons() -> Iterator[Path]:
    for version in OLD_PYTHONS:
        with suppress(environment.SetUpFailed):
            yield environment.find_python(version)
