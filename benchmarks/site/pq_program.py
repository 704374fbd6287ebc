"""The programs of pq, which has none: `create` its table, or `work`."""

from __future__ import annotations

import sys

from benchmarks.site.with_pq import pq, queue

if sys.argv[1] == "create":
    pq.create()
else:
    queue.work()
