"""Preload: imported once by the fork server, so that its children start at once."""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from contextlib import suppress
from typing import Final

import django
from django.core.cache import caches
from django.db import connections

from django_q.cluster.children import (
    PATH_VARIABLE,
    PRELOAD_VARIABLE,
    ROLES_VARIABLE,
    import_early,
    load_roles,
    prepare_to_fork,
)

MODULES: Final = ("multiprocessing.popen_forkserver", "multiprocessing.sharedctypes")
"""What the first object that a child is given needs."""


def preload() -> None:
    """Load the project. Errors stay quiet here: each child repeats and reports them."""
    # A TERM to all processes must not end the fork server before its children.
    signal.signal(signal.SIGTERM, lambda *_: None)
    sys.path[:] = json.loads(os.environ.get(PATH_VARIABLE, json.dumps(sys.path)))
    with suppress(Exception):
        django.setup()
        for module in MODULES:
            importlib.import_module(module)
        import_early(json.loads(os.environ.get(PRELOAD_VARIABLE, "[]")))
        load_roles(json.loads(os.environ.get(ROLES_VARIABLE, "[]")))
    # What app code may have opened here must not be shared by all children.
    connections.close_all()
    caches.close_all()
    prepare_to_fork()


preload()
