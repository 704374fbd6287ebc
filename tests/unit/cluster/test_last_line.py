"""The last line of a cluster tells what was counted."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from django_q.cluster.board import Board, Word
from django_q.cluster.cluster import Cluster
from tests.unit.cluster.making import make_board


@pytest.fixture
def cluster() -> Iterator[Any]:
    with ThreadPoolExecutor(1) as elsewhere:
        # In the main thread it would install its handlers of signals.
        cluster: Any = elsewhere.submit(Cluster).result()
    yield cluster
    cluster._ears.close()  # noqa: SLF001
    cluster._bell.close()  # noqa: SLF001


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (0, "2 finished, 3 returned, 0 lost."),
        (4, "2 finished, 3 returned, 4 not settled."),
    ],
)
def test_last_line_tells_what_was_counted_since_the_signal(
    cluster: Any, caplog: pytest.LogCaptureFixture, held: int, said: str
) -> None:
    board: Board = make_board()
    board[Word.FINISHED], board[Word.RETURNED] = 102, 13
    cluster.board, cluster._counted_before = board, (100, 10)  # noqa: SLF001
    board[Word.HELD] = held
    with caplog.at_level(logging.INFO, "django-q"):
        cluster._say_stopped()  # noqa: SLF001
    assert caplog.messages[-1].endswith(said)
