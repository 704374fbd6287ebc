"""The three acts that an older release plays on one database and one broker."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from tests.upgrades.place import OURS, Place
from tests.upgrades.releases import Release
from tests.waiting import wait_until

PATIENCE = 120.0
LOAD = 200

# What fill.py gives to the older cluster: function → at least so many rows.
WORK = {"give": 30, "note": 1, "fail": 3, "fail_unless": 1, "not_there": 1, "echo": 2}


class Rehearsal:
    """One release on one place. Says each fact, and counts those that do not hold."""

    def __init__(self, release: Release, place: Place, title: str) -> None:
        self.release = release
        self.title = f"{release.name} {title}"
        self.old = release.prepare()
        self.place = place
        self.wrong = 0

    def say(self, text: str, holds: bool, detail: str = "") -> None:
        self.wrong += not holds
        more = f"  ({detail})" if detail else ""
        print(f"{'ok ' if holds else 'NOT'}  {self.title}: {text}{more}", flush=True)

    def wait(self, text: str, fact: Callable[[], object]) -> None:
        """A fact that a cluster brings about."""
        try:
            wait_until(fact, PATIENCE, every=0.5)
        except AssertionError as error:
            self.say(text, holds=False, detail=str(error))
        else:
            self.say(text, holds=True)

    def judge(self, known: object, *verdicts: str) -> None:
        """Say what judge.py says, in our release."""
        command = ("-W", "ignore", "-m", "tests.upgrades.judge", *verdicts)
        for line in self.place.run(OURS, *command, said=known).splitlines():
            self.say(*json.loads(line))

    def migrate(self) -> None:
        self.place.run(OURS, "manage.py", "migrate", "--noinput")

    # ------------------------------------------------------------------ the upgrade

    def upgrade(self) -> None:
        """Filled by the older release, migrated, run by ours."""
        self.place.run(self.old, "manage.py", "migrate", "--noinput")
        with self.place.cluster(self.old):
            known = self.place.fill(self.old, "work")
            self.wait("its cluster does its own tasks", self.has_done_its_own)
        what_waits = "queue" if self.release.keeps_queue else "schedules"
        queued = self.place.fill(self.old, what_waits)
        known |= self.place.fill(self.old, "dump")
        if not self.release.keeps_queue:
            self.place = replace(self.place, broker={"orm": "default"})
        self.migrate()
        self.judge(known, "tables", "kept", "pages")
        if "cached" in known:
            self.judge(known, "cached")
        self.judge(known, "resubmit")
        with self.place.cluster(OURS):
            self.wait("our cluster does the rest", lambda: self.have_done(queued))
        self.judge(queued, *(["done"] if "plain" in queued else []), "scheduled")
        self.judge(queued, "mended")

    def has_done_its_own(self) -> bool:
        rows = self.place.fill(self.old, "dump")["task"]
        counts = Counter(row["func"] for row in rows.values())
        return all(counts[f"'jobs.{func}'"] >= n for func, n in WORK.items())

    def have_done(self, queued: dict[str, Any]) -> bool:
        """Ours has ended what was left to it, and what was given to it again."""
        found = self.place.fill(OURS, "dump")
        successes = {
            row["func"] for row in found["task"].values() if row["success"] == "True"
        }
        return (
            not found["ormq"]
            and has_rows_of(found["task"], queued)
            and "'jobs.fail_unless'" in successes
        )

    # -------------------------------------------------------------------- and back

    def back(self) -> None:
        """Tables of ours, packages of ours; a cluster of the older release runs them."""
        self.migrate()
        queued = self.place.fill(OURS, "queue")
        with self.place.cluster(self.old):
            self.wait("its cluster does our tasks", lambda: self.has_done_ours(queued))
        self.judge(queued, "taken_back")

    def has_done_ours(self, queued: dict[str, Any]) -> bool:
        """What failed stays in its queue, as it is used to."""
        rows = self.place.fill(OURS, "dump")["task"]
        links = sum(row["group"] == repr(queued["chain"]) for row in rows.values())
        return has_rows_of(rows, queued) and queued["iter"] in rows and links == 4

    # ------------------------------------------------------------------- the fleet

    def fleet(self) -> None:
        """Clusters and producers of both on one queue, at the same time."""
        self.migrate()
        self.place.log.touch()
        with self.place.cluster(self.old), self.place.cluster(OURS):
            self.wait("each sees both clusters", self.each_sees_both)
            with ThreadPoolExecutor(2) as producers:
                sent = [
                    producers.submit(self.place.fill, python, "load", word, str(LOAD))
                    for python, word in ((self.old, "old"), (OURS, "new"))
                ]
                loads = [task.result() for task in sent]
            words = [word for load in loads for word in load["words"]]
            self.wait("both do it all", lambda: self.is_worked_off(words))
        self.compare(words)
        self.judge(loads, "shared")

    def each_sees_both(self) -> bool:
        """Two clusters, from either side."""
        seen = [self.place.fill(python, "stats") for python in (self.old, OURS)]
        return len(seen[0]) == 2 and seen[0] == seen[1]

    def is_worked_off(self, words: list[str]) -> bool:
        """Each task has run, and nothing waits."""
        ran = {word for word, _ in self.place.said()}
        return ran.issuperset(words) and not self.place.fill(OURS, "dump")["ormq"]

    def compare(self, words: list[str]) -> None:
        """What was queued, and what the tasks wrote."""
        said = self.place.said()
        ran = Counter(word for word, _ in said)
        lost = [word for word in words if not ran[word]]
        self.say(f"none of {len(words)} tasks is lost", not lost, str(lost or ""))
        twice = {word: n for word, n in ran.items() if n > 1}
        self.say("none ran twice", not twice, str(twice or ""))
        by = Counter(release for _, release in said)
        self.say("both clusters worked", len(by) == 2, str(dict(by)))


def has_rows_of(rows: dict[str, Any], queued: dict[str, Any]) -> bool:
    """Whether all that was queued and all that was due has ended."""
    groups = {row["group"] for row in rows.values()}
    wanted = [pk for pk, _ in queued.get("plain", ())]
    wanted += [queued[key] for key in ("given", "failing") if key in queued]
    due = {repr(f"due {number}") for number in range(len(queued["due"]))}
    return rows.keys() >= set(wanted) and due <= groups
