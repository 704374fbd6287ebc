"""Entrance: the first thing that runs in every child.

Imports nothing of ours that needs the apps to be loaded: under spawn they are not yet.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import django
from django.apps import apps
from django.db import connections

from django_q.conf import Conf
from django_q.logs import attach_console, logger

if TYPE_CHECKING:
    from django_q.cluster.roles import Launch


LAST_STANDARD: Final = 2
"""Input, output and errors are for every program."""


def enter(path: str, launch: Launch) -> None:
    """Become the role whose class the dotted path names, until it leaves."""
    roles = importlib.import_module("django_q.cluster.roles")
    os.setpgid(0, 0)
    roles.ignore_outside_signals()
    roles.release_signals()
    for end in launch.foreign:
        end.close()  # type: ignore[attr-defined]
    if not launch.foreign:
        keep_descriptors()
    if launch.lock_file is not None:
        launch.lock_file.hold()
    parent = multiprocessing.parent_process()
    if launch.dies_with_parent and parent is not None and parent.pid:
        roles.die_with_parent(parent.pid)
    prepare(launch)
    live(path, launch)


def keep_descriptors() -> None:
    """Let no program that a task starts have what this process has open.

    What came over a socket, as all that a fork server gives its children, would be
    inherited. A program that outlives us would keep that server alive.
    """
    with suppress(OSError):
        for file in Path("/dev/fd").iterdir():
            if int(file.name) > LAST_STANDARD:
                with suppress(OSError):
                    # The one by which the folder is read is closed by now.
                    os.set_inheritable(int(file.name), False)


def prepare(launch: Launch) -> None:
    """Settings as the root has them, whatever the settings module says."""
    if not apps.ready:
        django.setup()
    Conf.adopt(launch.options, launch.assigned, launch.others)
    for alias, name in launch.databases.items():
        connections[alias].settings_dict["NAME"] = name
    if launch.console_level is not None:
        attach_console(launch.console_level)


def live(path: str, launch: Launch) -> None:
    """Run the role; what escapes from it is logged, and the process ends with 1."""
    module, name = path.rsplit(".", 1)
    role = getattr(importlib.import_module(module), name)
    try:
        living = role(launch)
        living.run()
    except Exception:  # noqa: BLE001 - the last edge: logged, it ends the child
        logger.critical("%s broke", launch.title, exc_info=True)
        sys.exit(1)
    finally:
        connections.close_all()
    sys.exit(living.exit_code)
