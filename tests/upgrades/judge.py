"""Says, in our release, which facts hold on the site: one JSON list a line.

    python -m tests.upgrades.judge kept | tables | done | resubmit

Reads what the older release knew from standard input.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import django

django.setup()

from django.conf import settings  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.test import Client  # noqa: E402

from django_q.models import Failure, OrmQ, Schedule, Success, Task  # noqa: E402
from django_q.tasks import fetch, fetch_group, result, result_group  # noqa: E402

Fact = tuple[str, bool, str]
Facts = Iterator[Fact]
Known = dict[str, Any]

fill = importlib.import_module("fill")
jobs = importlib.import_module("jobs")


def same(one: object, other: object) -> bool:
    return type(one) is type(other) and (one == other or repr(one) == repr(other))


def fact(text: str, wrong: object) -> Fact:
    """It holds when nothing is wrong."""
    return text, not wrong, str(wrong)[:600] if wrong else ""


# ------------------------------------------------------------------- after migrate


def kept(known: Known) -> Facts:
    """Every row of every kind, as the older release read it last."""
    for name, model in (("task", Task), ("schedule", Schedule), ("ormq", OrmQ)):
        before = known.get(name, {})
        after = fill.rows_of(model)
        wrong = {
            f"{pk}.{field}": (value, after.get(pk, {}).get(field))
            for pk, row in before.items()
            for field, value in row.items()
            if after.get(pk, {}).get(field) != value
        }
        yield fact(f"{len(before)} rows of {name} are kept, field by field", wrong)
    unfetched = [pk for pk in known["fetched"] if fetch(pk) is None]
    yield fact("every task that could be fetched can be fetched", unfetched)
    yield from values()


def values() -> Facts:
    """Results are the values that the tasks gave."""
    rows = Task.objects.filter(func="jobs.give")
    wrong = {
        row.args[0]: row.result
        for row in rows
        if row.success and not same(row.result, jobs.KINDS[row.args[0]])
    }
    yield fact("results of every kind are read as they were given", wrong)
    missing = set(jobs.KINDS) - {row.args[0] for row in rows}
    yield fact("there is a result of every kind", missing)
    other = [row.pk for row in rows if not same(result(row.pk), row.result)]
    yield fact("result() reads them by id", other)
    row = Task.objects.filter(group="failures").first()
    assert row is not None
    found = fetch(row.name)
    yield fact("fetch() reads a row by its name", found is None or found.pk != row.pk)
    groups = {
        "result_group": len(result_group("kinds") or []) - len(jobs.KINDS),
        "fetch_group": len(fetch_group("failures") or []) - 3,
    }
    yield fact("groups are read", {k: n for k, n in groups.items() if n})


def cached(known: Known) -> Facts:
    """What the older release left in the cache, and it collected."""
    wrong = {
        pk: result(pk, cached=True)
        for n, pk in enumerate(known["cached"])
        if result(pk, cached=True) != 2 * n
    }
    yield fact("cached results are read", wrong)
    group = sorted(result_group("cachedgroup", cached=True) or [])
    yield fact("a cached group is read", group != [0, 2, 4] and [group])
    collected = sorted(result(known["iter"]) or [])
    yield fact("the result of an iter is read", collected != [3, 5, 7] and [collected])
    chain = sorted(result_group(known["chain"]) or [])
    yield fact("the results of a chain are read", chain != [3, 7] and [chain])
    yield fact("a named task is found by its name", result("named") != 9)


def pages(_known: Known) -> Facts:
    """Every list and every page of the admin opens, for every row."""
    User.objects.create_superuser("root", "root@example.com", "secret")
    client = Client()
    client.login(username="root", password="secret")
    for model in (Success, Failure, Schedule, OrmQ):
        if model is OrmQ and "orm" not in settings.Q_CLUSTER:
            continue
        base = f"/admin/django_q/{model.__name__.lower()}/"
        asked = [f"{base}?all=", base]
        asked += [
            f"{base}{pk}/change/" for pk in model.objects.values_list("pk", flat=True)
        ]
        wrong = {path: code for path in asked if (code := status(client, path)) != 200}
        yield fact(f"{len(asked)} pages of {model.__name__} open in the admin", wrong)


def status(client: Client, path: str) -> int:
    return int(client.get(path, follow=True).status_code)


def tables(_known: Known) -> Facts:
    """The commands that an upgrade runs."""
    for command, options in (
        ("check", {}),
        ("makemigrations", {"check": True, "dry_run": True}),
        ("migrate", {"check_unapplied": True}),
        ("qinfo", {}),
    ):
        try:
            call_command(command, verbosity=0, stdout=sys.stderr, **options)
            wrong = None
        except (SystemExit, Exception) as error:  # noqa: BLE001 - it is the fact
            wrong = repr(error) if getattr(error, "code", 1) else None
        yield fact(f"{command} is content", wrong)


# -------------------------------------------------------- after our cluster has run


def done(known: Known) -> Facts:
    """What the older release left in the queue has run."""
    yield fact("the queue is empty", list(OrmQ.objects.values_list("id", flat=True)))
    wrong = {
        pk: (row and row.result)
        for pk, wanted in known["plain"]
        if (row := fetch(pk)) is None
        or not row.success
        or (wanted is not None and row.result != wanted)
    }
    yield fact("queued packages give what they should", wrong)
    row = fetch(known["given"])
    point = row and row.success and row.args[0]
    yield fact("arguments of the site's own class arrive", point != jobs.Point(1, 2))
    row = fetch(known["failing"])
    yield fact("a queued task that fails has its row", row is None or row.success)
    said = Path(fill.LOG).read_text().split("\n")
    words = [line.split(" ")[0] for line in said]
    lost = [word for word in (*known["words"], "unsaved") if words.count(word) != 1]
    yield fact("each queued task ran once", lost)
    hooks = sum(word.startswith("hook:") for word in words)
    yield fact("their hooks ran", hooks < len(known["words"]) and [hooks])
    if "chain" in known:
        yield from several(known)


def taken_back(known: Known) -> Facts:
    """What we left in the queue, and the older release has run."""
    yield from (line for line in done(known) if "queue is empty" not in line[0])
    yield from (line for line in scheduled(known) if "later" not in line[0])


def shared(loads: Any) -> Facts:
    """What two clusters ended together: `loads` is what each producer sent."""
    words = Counter(Task.objects.filter(success=True).values_list("group", flat=True))
    wrong: dict[str, object]
    wrong = {word: n for word in ("old", "new") if (n := words[word]) != 200}
    yield fact("each task has its row", wrong)
    chains = [chain for load in loads for chain in load["chains"]]
    wrong = {chain: n for chain in chains if (n := words[chain]) != 3}
    yield fact(f"{len(chains)} chains went on to their end, whoever ran a link", wrong)
    ran = dict(line.split() for line in Path(fill.LOG).read_text().splitlines())
    theirs, ours = (load["iters"] for load in loads)
    # Older releases don't look at the parts that ours ran: an iter of ours that they
    # end is collected by nobody. What one release ran alone is.
    sure = theirs + [i for i in ours if len({ran.get(word) for word in i[1]}) == 1]
    wrong = {i: r for i, _ in sure if len(r := result(i) or []) != 3}
    yield fact(f"{len(sure)} iters were collected, whoever ran a part", wrong)
    # Not by group: older releases write its list without a lock, and lose members.
    kept = [found for load in loads for found in load["cached"]]
    wrong = {i: r for i, word in kept if (r := result(i, cached=True)) != word}
    yield fact(f"{len(kept)} cached results are there", wrong)


def several(known: Known) -> Facts:
    """Chains, iters, cached and named ones."""
    chain = sorted(result_group(known["chain"]) or [])
    yield fact("a queued chain goes on to its end", chain != [0, 2, 4, 6] and [chain])
    collected = sorted(result(known["iter"]) or [])
    yield fact("a queued iter is collected", collected != [0, 2, 4, 6, 8] and collected)
    value = result(known["cached"], cached=True)
    yield fact("a queued cached task is in the cache", value != 13 and [value])
    yield fact("a queued named task is found by its name", result("queued name") != 17)


def scheduled(known: Known) -> Facts:
    """The rows of the older release fired with the arguments that they say."""
    wrong = {}
    for n, (args, kwargs, wanted) in enumerate(known["due"]):
        row = Task.objects.filter(group=f"due {n}").first()
        if row is None or row.result != wanted:
            wrong[f"{args!r} {kwargs!r}"] = row and row.result
    yield fact("schedules of every syntax fire with their arguments", wrong)
    later = Schedule.objects.filter(name__startswith="later", repeats=5)
    types = {letter for letter, _ in Schedule.TYPE}
    moved = [row.name for row in later if row.schedule_type not in types]
    yield fact("schedules for later stay", moved)


def resubmit(_known: Known) -> Facts:
    """The action of the admin on a failure of the older release."""
    Path(fill.MENDED).touch()
    client = Client()
    client.login(username="root", password="secret")
    failed = Failure.objects.filter(group="mending")
    asked = {
        "action": "resubmit_task",
        "_selected_action": [row.pk for row in failed],
    }
    answer = client.post("/admin/django_q/failure/", asked, follow=True)
    yield fact("failures can be chosen to run again", answer.status_code != 200)


def mended(_known: Known) -> Facts:
    rows = list(Task.objects.filter(group="mending").values_list("success", flat=True))
    yield fact(
        "failures that ran again are successes now",
        (not rows or not all(rows)) and [rows],
    )


VERDICTS: dict[str, Callable[[Known], Facts]] = {
    "kept": kept,
    "cached": cached,
    "pages": pages,
    "tables": tables,
    "done": done,
    "scheduled": scheduled,
    "resubmit": resubmit,
    "mended": mended,
    "taken_back": taken_back,
    "shared": shared,
}

if __name__ == "__main__":
    handed = json.load(sys.stdin)
    for verdict in sys.argv[1:]:
        for line in VERDICTS[verdict](handed):
            print(json.dumps(line), flush=True)
