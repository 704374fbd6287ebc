"""Launching: what the first of a cluster's processes is given, and gives to others."""

from __future__ import annotations

from django.db import connections

from django_q.cluster.board import Board
from django_q.cluster.roles import Identity, Launch
from django_q.conf import Conf
from django_q.logs import console_level, logger
from django_q.options import Options


def make_launch(
    identity: Identity, options: Options, board: Board, list_key: str
) -> Launch:
    """What a sentinel starts with, but for its line to the root."""
    return Launch(
        kind="sentinel",
        generation=0,
        title="Process",
        identity=identity,
        options=options,
        board=board,
        control=None,
        list_key=list_key,
        databases={c.alias: c.settings_dict["NAME"] for c in connections.all()},
        others=Conf.others,
        assigned=Conf.assigned,
        console_level=console_level(),
    )


def rows_for(options: Options) -> int:
    """Rows that the board needs: also for workers that retire or are not buried yet."""
    return 2 * options.worker_count + 2


def close_connections(options: Options, whose: str) -> None:
    """No open connection may cross a fork. Tests in a transaction keep theirs."""
    if options.sync:
        text = "%s: 'sync' is set, so open connections stay open."
        logger.warning(text, whose)
        return
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()
