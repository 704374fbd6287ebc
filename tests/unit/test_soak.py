"""The soak's own reckoning: tests/faults/soak.py runs for an hour, and must not err then."""

from __future__ import annotations

import os
import random
import re
from argparse import Namespace
from collections import Counter
from pathlib import Path

import pytest

from django_q import clock
from django_q.models import Task
from tests.acceptance.harness import ROLES, RunningCluster
from tests.faults.scales import LONG_ENOUGH, Course, Scales, Weight, growth, slopes_of
from tests.faults.tally import Tally, announcements
from tests.faults.verdict import Side, Verdict

SAMPLES = range(0, 3601, 10)


def course(
    per_minute: float, *, leaps: tuple[int, ...] = (), seconds: int = 3600
) -> Course:
    """A process that grows so many KiB a minute, and once by a leap; 3,600 tasks/min."""
    dice = random.Random(1)
    made = []
    for age in (second for second in SAMPLES if second <= seconds):
        warming = max(0, 60 - age) * -50
        noise = dice.randint(-20, 20)
        own = 9000 + warming + noise + age / 60 * per_minute
        own += 1024 * sum(age > leap for leap in leaps)
        made.append(Weight(age, age * 60, 50_000, round(own) + 3000, round(own)))
    return made


def test_leak_is_seen() -> None:
    grown = growth("pusher", [course(40.0)])
    assert grown.per_minute == pytest.approx(40.0, abs=2)
    assert grown.per_tasks == pytest.approx(40.0 / 0.36, rel=0.05)
    assert not grown.is_flat


@pytest.mark.parametrize("leaps", [(), (900,), (1830,), (2700,), (300, 3000)])
def test_warming_up_noise_and_a_leap_are_no_leak(leaps: tuple[int, ...]) -> None:
    assert growth("pusher", [course(0.0, leaps=leaps)]).is_flat


def test_process_that_dies_on_the_scales_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    here, gone = os.getpid(), 2**22 + 1
    seen = [("worker", gone), ("worker", here)]
    monkeypatch.setattr("tests.faults.scales.processes", lambda _cluster: seen)
    scales = Scales()
    scales.weigh(RunningCluster(tmp_path), tasks=0)
    assert [each.processes for each in scales.growths()] == [1]


def test_one_process_of_many_that_leaks_is_seen() -> None:
    grown = growth("worker", [course(0.0), course(60.0), course(1.0)])
    assert grown.processes == 3
    assert not grown.is_flat


def test_young_process_is_not_judged() -> None:
    young = course(900.0, seconds=int(LONG_ENOUGH))
    assert slopes_of(young) is None
    assert growth("worker", [young]).is_flat


def test_announcements_are_counted_by_name(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        "12:00:00 [Q] WARNING ↻ f [a] starts again, delivery 2 of 3: It died.\n"
        "12:00:00 [Q] WARNING ↻ f [a] starts again: Its cluster died.\n"
        "12:00:00 [Q] INFO ▶ f [b] on one, waited 0.1 s\n"
    )
    assert announcements([log, log]) == {"a": 4}


@pytest.mark.django_db
def test_tally_counts_what_is_lost_missing_and_repeated(tmp_path: Path) -> None:
    promised, log = tmp_path / "acknowledged", tmp_path / "truth"
    tally = Tally("q", promised, log)
    tally.update()
    promised.write_text("id1:a 1 1\nid2:b 1 1\nerror:OSError:c 1 1\nid4:d 1")
    log.write_text("start:a 1 1\nend:a 1 1\nend:a 1 1\nstart:b 1 1\n")
    for task_id, success in (("id1", True), ("id2", False)):
        now = clock.now()
        facts = {"func": "f", "started": now, "stopped": now, "success": success}
        Task.objects.create(id=task_id, name=task_id, cluster="q", **facts)
    tally.update()
    counted = tally.acknowledged, tally.refused, tally.twice, tally.lost, tally.missing
    assert counted == (2, 1, 1, 1, 1)
    assert tally.rows() == 2
    assert tally.unannounced(Counter()) == {"id1": 1}
    assert not tally.unannounced(Counter(id1=1))
    with promised.open("a") as file:
        file.write(" 1\n")
    with log.open("a") as file:
        file.write("end:b 1 1\nend:d 1 1\n")
    tally.update()
    counted = tally.acknowledged, tally.refused, tally.twice, tally.lost, tally.missing
    assert counted == (3, 1, 1, 0, 2)


def side(**changes: int) -> Side:
    figures = {"lost": 0, "twice": 2, "unannounced": 0, "rows": 90, "missing": 0}
    figures |= {"acknowledged": 90, "executed": 90, "left": 0, "refused": 0} | changes
    leak, seconds = float(figures.pop("leak", 0)), figures.pop("seconds", 3600)
    weighed = [course(leak, seconds=seconds)]
    growths = [growth(role, weighed) for role in ROLES if not figures.pop(role, 0)]
    return Side(title="one", rate=0.02, workers=2, growths=growths, **figures)


def verdict(*sides: Side, orphans: int = 0) -> Verdict:
    options = Namespace(broker="redis", seed=1)
    harms = Counter({("worker", "SIGKILL"): 3, ("root", "SIGTERM"): 1})
    return Verdict(options, 60.0, list(sides), harms, 1, orphans)


@pytest.mark.parametrize(
    "flaw",
    [
        {"lost": 1},
        {"missing": 1},
        {"left": 1},
        {"unannounced": 1},
        {"rows": 91},
        {"acknowledged": 60, "rows": 60},
        {"leak": 99},
        {"seconds": 500},
        {"monitor": 1},
    ],
    ids=lambda flaw: next(iter(flaw)),
)
def test_any_flaw_is_told(flaw: dict[str, int]) -> None:
    assert verdict(side(), side()).holds
    assert not verdict(side(), side(**flaw)).holds


def test_orphans_are_a_flaw_and_a_refused_call_may_have_come_through() -> None:
    assert not verdict(side(), side(), orphans=1).holds
    assert verdict(side(rows=91, refused=1), side()).holds


def test_page_has_its_figures() -> None:
    page = verdict(side(), side()).page()
    assert "60 minutes on redis" in page
    assert "\nworker 3       0" in page
    assert re.search(r"\nAcknowledged +90 +90\n", page)
