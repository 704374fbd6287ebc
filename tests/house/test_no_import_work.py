"""Importing a module does nothing: no process, no network, no settings."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from django_q.cluster.children import PRELOAD
from tests.house import rooms

# Floors 0 to 3: a script may import them before Django is set up.
NEEDS_NO_SETTINGS = [
    "django_q",
    "django_q.callables",
    "django_q.clock",
    "django_q.conf",
    "django_q.envelope",
    "django_q.exceptions",
    "django_q.humanhash",
    "django_q.logs",
    "django_q.options",
    "django_q.outcome",
    "django_q.queues",
    "django_q.recurrence",
    "django_q.signals",
    "django_q.signing",
]

ALLOWED = {
    # Django imports it to let it register, and what it registers depends on the broker.
    "django_q.admin: reads the settings",
    # The HTTP library below boto3 looks whether this host knows IPv6.
    "django_q.brokers.aws_sqs: socket.bind",
}

WATCHED = r"""
import sys

EVENTS = (
    "os.exec", "os.fork", "os.forkpty", "os.kill", "os.posix_spawn", "os.spawn",
    "os.system", "socket.bind", "socket.connect", "socket.getaddrinfo",
    "sqlite3.connect", "subprocess.Popen", "_thread.start_new_thread",
    "_thread.start_joinable_thread",
)
found = set()

READS = ("get_options", "load_options", "LiveConf.__getattr__")

def importing():
    # The module of ours whose top level runs now, if there is one.
    frame = sys._getframe(2)
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if frame.f_code.co_name == "<module>" and name.split(".")[0] == "django_q":
            return name
        frame = frame.f_back
    return None

def watch(event, arguments):
    if event in EVENTS and (module := importing()):
        found.add(f"{module}: {event}")

def watch_settings(frame, event, argument):
    code = frame.f_code
    if event == "call" and code.co_qualname in READS:
        home = frame.f_globals.get("__name__")
        if home == "django_q.conf" and (module := importing()):
            found.add(f"{module}: reads the settings")

sys.setprofile(watch_settings)
sys.addaudithook(watch)
"""

IMPORT_ALL = r"""
import gc
import importlib
import signal
import django
django.setup()

def state():
    handlers = [signal.getsignal(number) for number in signal.valid_signals()]
    return handlers, gc.get_freeze_count()

before = state()
for module in sys.argv[1:]:
    importlib.import_module(module)
    if state() != before:
        sys.exit(f"{module} changes the process that imports it")
print("\n".join(sorted(found)))
"""

IMPORT_WITHOUT_SETTINGS = r"""
import importlib
from django.conf import settings
for module in sys.argv[1:]:
    importlib.import_module(module)
    if settings.configured:
        sys.exit(f"{module} reads the settings")
print("\n".join(sorted(found)))
"""


def test_importing_starts_nothing_connects_nowhere_and_reads_no_settings() -> None:
    # Loading the project is what the fork server imports this one for.
    modules = [module for module in rooms.modules() if module != PRELOAD]
    said = run(IMPORT_ALL, modules, settings="tests.settings")
    assert set(said.splitlines()) <= ALLOWED


def test_lower_floors_open_without_settings() -> None:
    assert run(IMPORT_WITHOUT_SETTINGS, NEEDS_NO_SETTINGS, settings=None) == ""


def test_nothing_optional_is_imported_before_it_is_needed() -> None:
    """A web process pays for no terminal, no cron parser and no client library."""
    code = (
        "import django, sys; django.setup(); import django_q.tasks; "
        "print(*sorted({'blessed', 'boto3', 'pymongo', 'redis'} & set(sys.modules)))"
    )
    assert run(code, [], settings="tests.settings") == ""


def run(code: str, arguments: list[str], *, settings: str | None) -> str:
    """What this code prints in a fresh interpreter."""
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": settings or ""}
    if settings is None:
        del environment["DJANGO_SETTINGS_MODULE"]
    done = subprocess.run(
        [sys.executable, "-c", WATCHED + code, *arguments],
        cwd=rooms.ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.fail(done.stderr)
    return done.stdout.strip()
