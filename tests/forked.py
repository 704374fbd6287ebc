"""What a process that was forked sees, without a fork."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock


@contextmanager
def another_process() -> Iterator[None]:
    """Whoever asks has another number meanwhile.

    Nothing is collected: what others left behind may mind whose process it is in.
    """
    gc.disable()
    try:
        with mock.patch("os.getpid", return_value=-1):
            yield
    finally:
        gc.enable()
