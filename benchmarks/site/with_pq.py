"""pq, on a connection of its own."""

from __future__ import annotations

from pq.tasks import PQ
from psycopg2 import connect

from benchmarks.site import body
from benchmarks.site.told import HOST, TOLD

told = TOLD["database"]
pq = PQ(
    conn=connect(host=HOST, port=told["port"], user=told["user"], dbname=told["name"])
)
queue = pq["default"]


@queue.task(max_retries=0)
def noop(job_id: int, a: int, b: int) -> int:
    return body.noop(a, b)


def one(a: int, b: int) -> None:
    noop(a, b)
