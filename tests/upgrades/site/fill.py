"""Fills the site: run by the older release, and by ours beside it.

    python fill.py work | queue | schedules | load WORD COUNT | dump | packages | stats

Each writes what it knows to standard output, as JSON.
"""

import datetime
import json
import os
import sys

os.environ["DJANGO_SETTINGS_MODULE"] = "settings"

import django

django.setup()

import django_q
import jobs
from django.conf import settings
from django.utils import timezone
from django_q.models import Schedule, Task

OLDEST = django_q.VERSION < (0, 7)
if OLDEST:
    from django_q import Stat, fetch

    enqueue = getattr(django_q, "async")
else:
    from django_q import tasks as api
    from django_q.models import OrmQ
    from django_q.tasks import async_task as enqueue
    from django_q.tasks import fetch

    try:
        from django_q.status import Stat
    except ImportError:
        from django_q.monitor import Stat

LOG = settings.SITE["log"]
MENDED = settings.SITE["mended"]

# args, kwargs, and what jobs.echo makes of them
SYNTAX = [
    (None, None, [[], {}]),
    ("", "", [[], {}]),
    ("5", None, [[5], {}]),
    ("1, 'a'", "x=1, y='a'", [[1, "a"], {"x": 1, "y": "a"}]),
    ("(1, 2)", "{'x': 1, 'y': [1, 2]}", [[1, 2], {"x": 1, "y": [1, 2]}]),
    ("[1, 2]", "x=[1, 2], y={'z': None}", [[[1, 2]], {"x": [1, 2], "y": {"z": None}}]),
    ("'text'", "x=-1.5,", [["text"], {"x": -1.5}]),
    ("True, None", "x=True", [[True, None], {"x": True}]),
]


def work():
    """Tasks that a running cluster of this release finishes, of every kind."""
    for kind in sorted(jobs.KINDS):
        enqueue("jobs.give", kind, group="kinds")
    enqueue(jobs.add, 1, 2)
    enqueue("jobs.echo", 1, "a", x=[2], hook="jobs.note_result_of_echo")
    enqueue("jobs.note", LOG, "hooked", hook="jobs.note_result")
    for n in range(3):
        enqueue("jobs.fail", "number %d" % n, group="failures")
    enqueue("jobs.fail_unless", MENDED, group="mending")
    enqueue("jobs.not_there", 1)
    enqueue("jobs.echo", at=timezone.now(), group="moments")
    if OLDEST:
        return {}
    known = {
        "cached": [api.async_task("jobs.add", n, n, cached=600) for n in range(3)],
        "iter": api.async_iter("jobs.add", [(1, 2), (3, 4), 5]),
        "chain": api.async_chain([("jobs.add", (1, 2)), ("jobs.add", (3, 4))]),
    }
    for n in range(3):
        api.async_task("jobs.add", n, n, cached=600, group="cachedgroup")
    api.async_task("jobs.add", 4, 5, q_options={"task_name": "named", "group": "g"})
    return known


def schedules():
    """A row of every type for later, and one of every syntax that is due."""
    now = timezone.now()
    later = datetime.datetime(2035, 1, 31, 9, 30, tzinfo=datetime.timezone.utc)
    for letter, _ in Schedule.TYPE:
        row = {"name": "later " + letter, "next_run": later, "repeats": 5}
        if letter == "C":
            row["cron"] = "0 22 * * 1-5"
        Schedule.objects.create(
            func="jobs.add", args="1, 2", schedule_type=letter, minutes=7, **row
        )
    due = now - datetime.timedelta(minutes=1)
    for n, (args, kwargs, _) in enumerate(SYNTAX):
        Schedule.objects.create(
            name="due %d" % n,
            func="jobs.echo",
            args=args,
            kwargs=kwargs,
            hook="jobs.nothing",
            schedule_type="O" if n % 2 else "D",
            repeats=1 if n % 2 else -1,
            next_run=due,
        )
    return {"due": SYNTAX}


def queue():
    """Packages that nobody has taken yet, and schedules that nobody has looked at."""
    known = dict(schedules(), plain=[], words=["queued-0", "queued-1"])
    known["plain"].append([enqueue("jobs.add", 1, 2), 3])
    known["plain"].append([enqueue(jobs.add, 1, 2, group="queued"), 3])
    known["plain"].append([enqueue("jobs.echo", 1, x=2), [[1], {"x": 2}]])
    known["plain"].append([enqueue("jobs.give", "object", timeout=15), None])
    known["given"] = enqueue("jobs.echo", jobs.Point(1, 2), at=timezone.now())
    for word in known["words"]:
        enqueue("jobs.note", LOG, word, hook="jobs.note_result")
    known["failing"] = enqueue("jobs.fail", "queued")
    known["unsaved"] = enqueue("jobs.note", LOG, "unsaved", save=False)
    if OLDEST:
        return known
    known["chain"] = api.async_chain([("jobs.add", (n, n)) for n in range(4)])
    known["iter"] = api.async_iter("jobs.add", [(n, n) for n in range(5)])
    known["cached"] = enqueue("jobs.add", 6, 7, cached=True)
    known["named"] = enqueue("jobs.add", 8, 9, q_options={"task_name": "queued name"})
    return known


def load(word, count):
    """Many tasks that say once that they ran, and chains and iters between them."""
    known = {"cached": [], "chains": [], "iters": [], "words": []}

    def note(name, *numbers):
        known["words"].append("-".join(map(str, [word, name] + list(numbers))))
        return (LOG, known["words"][-1])

    for n in range(int(count)):
        enqueue("jobs.note", *note("one", n), group=word)
        if n % 10 == 0:
            links = [("jobs.note", note("link", n, m)) for m in range(3)]
            known["chains"].append(api.async_chain(links))
            parts = [note("part", n, m) for m in range(3)]
            words = [part[1] for part in parts]
            known["iters"].append([api.async_iter("jobs.note", parts), words])
            parts = note("cached", n)
            known["cached"].append([enqueue("jobs.note", *parts, cached=600), parts[1]])
    return known


# ------------------------------------------------------------------ what there is


def plain(value):
    if hasattr(value, "isoformat"):
        return value.isoformat()
    # pytz, of Django 3 and older, writes it in its own way.
    return repr(value).replace("<UTC>", "datetime.timezone.utc")


def rows_of(model, leave_out=()):
    fields = [f.name for f in model._meta.fields if f.name not in leave_out]
    # The same moments as text, whichever class this Django gives its time zone.
    return {
        str(row.pk): {name: plain(getattr(row, name)) for name in fields}
        for row in model.objects.all()
    }


def dump():
    """Every row, as this release reads it; results are compared as values."""
    known = {
        "task": rows_of(Task, leave_out=("result",)),
        "schedule": rows_of(Schedule),
        "fetched": [
            pk for pk in Task.objects.values_list("pk", flat=True) if fetch(pk)
        ],
    }
    if not OLDEST:
        known["ormq"] = rows_of(OrmQ)
    return known


def packages():
    """What waits in the queue, as it is signed."""
    if "orm" in settings.Q_CLUSTER:
        return list(OrmQ.objects.order_by("id").values_list("payload", flat=True))
    import redis

    found = redis.StrictRedis(**settings.Q_CLUSTER["redis"]).lrange(
        "django_q:shop:q", 0, -1
    )
    return [package.decode() for package in found]


def stats():
    """The clusters that can be seen from here, by the pid of their first process."""
    return sorted(stat.pid for stat in Stat.get_all())


if __name__ == "__main__":
    command = globals()[sys.argv[1]]
    json.dump(command(*sys.argv[2:]), sys.stdout)
