"""The arithmetic of the benchmarks, and that what they name is there."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import pytest

from benchmarks import bars, bench, pages, report
from benchmarks.bars import BARS, Bar, groups_of
from benchmarks.catalogue import CONFIGS, ENVIRONMENTS, UnknownName, choose
from benchmarks.clusters import clusters
from benchmarks.configs import EARLIER, OURS, Config
from benchmarks.counts import pruned
from benchmarks.curves import curve_rows, curves_of
from benchmarks.growth import (
    STORIES,
    efficiency,
    longest_idle_wait,
    most_at_once,
    points_of,
)
from benchmarks.machine import Load
from benchmarks.measures import (
    KINDS,
    Kind,
    judged,
    per_second,
    percentile,
    rate_of,
    waits_of,
)
from benchmarks.report import Figure, kind_rows, sort_out, verdicts
from benchmarks.trial import Execution
from tests.environment import ROOT
from tests.house import rooms

MS = 1_000_000


def run(config: str, *, kind: str = "drain", ok: bool = True, **facts: Any) -> Any:
    """A line of results."""
    return {
        "kind": kind,
        "config": config,
        "ok": ok,
        "at": "2026-01-31 12:00:00",
        "versions": {"django": "6.1"},
        "settings": {"note": "", "environment": config, "commands": ["work"] * 2},
        "machine": {"processors": "2 x fast"},
        **facts,
    }


def line(number: int, begun: int, ended: int, process: int = 1) -> Execution:
    """In milliseconds."""
    return Execution(number, begun * MS, ended * MS, process)


def cell(rows: list[list[str]], name: str, title: str) -> str:
    [row] = [row for row in rows if row[0] == name]
    return row[rows[0].index(title)]


# ----------------------------------------------------------------------------- runs


def test_figure_is_the_median_of_the_runs_with_its_range() -> None:
    assert Figure.of([30.0, 10.0, 20.0]) == Figure(20.0, 10.0, 30.0, 3)
    assert Figure.of([]) is None


def test_runs_that_failed_or_were_disturbed_do_not_count() -> None:
    records = [
        run("a", rate=10, stray=0.1),
        run("a", rate=99, stray=0.3),
        run("a", rate=99, ok=False),
    ]
    runs = sort_out(records)
    assert runs.figure("rate") == Figure(10, 10, 10, 1)
    assert runs.left_out == "1 failed, 1 disturbed"
    assert sort_out(records, stray=0.05).figure("rate") is None


def test_configuration_without_a_run_that_counts_has_no_figure() -> None:
    records = [run("a", rate=10, stray=0.0), run("b", rate=99, stray=1.0)]
    rows = kind_rows("drain", records)
    assert cell(rows, "b", "tasks/s") == report.NOTHING
    assert cell(rows, "b", "left out") == "1 disturbed"
    assert rows[-1][0] == "b"


def test_best_comes_first_and_others_are_shares_of_it() -> None:
    rates = kind_rows("drain", [run("slow", rate=500), run("fast", rate=2000)])
    assert [row[0] for row in rows_of(rates)] == ["fast", "slow"]
    assert cell(rates, "slow", "to the best") == "0.25"
    starts = [
        run("slow", kind="start", start=3.0),
        run("fast", kind="start", start=1.0),
    ]
    waits = kind_rows("start", starts)
    assert [row[0] for row in rows_of(waits)] == ["fast", "slow"]
    assert cell(waits, "slow", "to the best") == "3.00"


def test_table_says_how_many_tasks_it_were_and_how_long_they_took() -> None:
    rows = kind_rows("drain", [run("a", rate=5000, n=30_000, seconds=6.0)])
    assert (cell(rows, "a", "n"), cell(rows, "a", "s")) == ("30,000", "6.0")


def rows_of(table: list[list[str]]) -> list[list[str]]:
    return table[1:]


def test_stray_load_is_what_neither_we_nor_what_we_started_used() -> None:
    before = Load(clock=10.0, busy=100.0, own=50.0, workers=5.0, servers=7.0)
    after = Load(clock=20.0, busy=115.0, own=62.0, workers=9.0, servers=8.0)
    assert after.since(before) == Load(10.0, 15.0, 12.0, 4.0, 1.0)
    assert after.since(before).stray == pytest.approx(0.3)


# ----------------------------------------------------------------------------- bars


def judge(monkeypatch: pytest.MonkeyPatch, bar: Bar, *records: Any) -> Any:
    monkeypatch.setattr(report, "BARS", [bar])
    [verdict] = verdicts(records)
    return verdict


def test_rate_is_held_against_the_best_of_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bar = Bar("drain", "g", "rate", "ours", 4, ("a", "b", "not measured"))
    records = [run("ours", rate=900), run("a", rate=100), run("b", rate=300)]
    verdict = judge(monkeypatch, bar, *records)
    assert verdict.best[0] == "b"
    assert (verdict.ratio, verdict.is_met) == (3.0, False)
    assert judge(monkeypatch, bar._replace(aim=3), *records).is_met


def test_of_costs_less_is_better(monkeypatch: pytest.MonkeyPatch) -> None:
    bar = Bar("latency", "g", "p50", "ours", 4, ("a", "b"), is_cost=True)
    records = [
        run("ours", kind="latency", p50=2.0),
        run("a", kind="latency", p50=10.0),
        run("b", kind="latency", p50=30.0),
    ]
    verdict = judge(monkeypatch, bar, *records)
    assert (verdict.best[0], verdict.ratio, verdict.is_met) == ("a", 5.0, True)


@pytest.mark.parametrize(("found", "is_met"), [(59.0, True), (61.0, False)])
def test_bound_needs_no_others(
    monkeypatch: pytest.MonkeyPatch, found: float, is_met: bool
) -> None:
    bar = Bar("memory", "g", "mib", "ours", 60, is_cost=True)
    verdict = judge(monkeypatch, bar, run("ours", kind="memory", mib=found))
    assert verdict.is_met is is_met


def test_bar_without_figures_is_not_judged() -> None:
    assert list(verdicts([run("ours-redis-pg", rate=1000)])) == []


def test_bars_and_groups_name_configurations_and_figures_that_there_are() -> None:
    for bar in BARS:
        assert {bar.ours, *bar.others} <= set(CONFIGS)
        assert bar.figure in report.COLUMNS[bar.kind]
        assert groups_of(bar.kind)[bar.group][0].startswith(OURS)
    for (kind, group), members in bars.COMPANY.items():
        assert set(members) <= set(groups_of(kind)[group])


# ------------------------------------------------------------------------ catalogue


def test_names_patterns_and_groups_choose_configurations_once() -> None:
    chosen = choose(["g", "huey*", "huey"], {"g": ["saq", "huey"]})
    names = [config.name for config in chosen]
    assert names == ["saq", "huey", "huey-noresult", "huey-sqlite"]
    with pytest.raises(UnknownName, match="nobody"):
        choose(["nobody"], {})


def test_every_configuration_has_its_environment_and_its_producer() -> None:
    for config in CONFIGS.values():
        assert config.environment in ENVIRONMENTS
        module = rooms.BENCHMARKS / "site" / config.producer.replace(".", "/")
        assert module.with_suffix(".py").is_file()


def test_ours_and_the_release_before_have_the_same_settings() -> None:
    pairs = zip(clusters(OURS), clusters(EARLIER), strict=True)
    for ours, theirs in pairs:
        assert (ours.options, ours.database) == (theirs.options, theirs.database)
        assert ours.commands == theirs.commands


def test_settings_are_changed_beside_those_there_are() -> None:
    config = CONFIGS["ours-orm-pg-limit250"].with_settings(workers=4)
    assert config.options["q"] == {"save_limit": 250, "workers": 4}
    assert config.options["broker"] == "orm"


# ------------------------------------------------------------------------- measures


class Successes:
    """Stands for a run that has left so many."""

    def __init__(self, count: int) -> None:
        self.rows = [(True,)] * count + [(False,)]

    def ask(self, question: str) -> int:
        with closing(sqlite3.connect(":memory:")) as line:
            line.execute("create table django_q_task (success bool)")
            line.executemany("insert into django_q_task values (?)", self.rows)
            return int(line.execute(question).fetchone()[0])


@pytest.mark.parametrize(("left", "through"), [(250, 600), (251, 599)])
def test_tasks_are_through_when_no_more_rows_are_left_than_the_limit(
    left: int, through: int
) -> None:
    count = pruned(lambda _traces: 600, 250)
    assert count(Successes(left)) == through  # type: ignore[arg-type]


def test_run_is_well_when_each_task_ran_once() -> None:
    twice = [line(1, 0, 1), line(1, 1, 2)]
    once = [line(1, 0, 1), line(2, 1, 2)]
    assert judged(once, 2)["ok"]
    assert not judged(twice, 2, tail="words")["ok"]
    assert judged(twice, 2, tail="words")["tail"] == "words"
    assert not judged(once, 3)["ok"]
    assert not judged(once, 2, ok=False)["ok"]


def test_rates_waits_and_percentiles() -> None:
    lines = [line(n, 100 * n, 100 * n + 1) for n in range(11)]
    assert rate_of(lines) == 10.0
    assert waits_of(lines[1:3], {1: 99 * MS, 2: 150 * MS}) == [1.0, 50.0]
    assert percentile(range(101), 99) == 99
    assert percentile([7.0], 50) == 7.0


def test_questions_of_the_benchmark_itself_are_not_counted() -> None:
    assert per_second(10, 41, 10.0, own=1) == 3.0
    assert per_second(None, None, 10.0) is None


class Machine:
    """Stands for the servers, the environments and the runs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, out: Path) -> None:
        monkeypatch.setattr(bench, "Trial", self.trial)
        monkeypatch.setattr(bench, "Book", lambda *_: self)
        self.lines: list[Any] = []
        plan = bench.Plan(runs=2, scale=0.5)
        self.bench = bench.Bench(self, self, out, plan)  # type: ignore[arg-type]

    def trial(self, _ground: object, _places: object, *told: object) -> Any:
        return nullcontext(told)

    def spare_redis(self) -> Any:
        return nullcontext("spare")

    def write(self, config: Config, facts: Any) -> Any:
        self.lines.append((config.name, facts["run"], facts["seen"]))
        return {**facts, "config": config.name}


def seen(trials: Sequence[Any], _size: object) -> list[Any]:
    return [{"ok": True, "seen": [redis for _config, redis in trials]} for _ in trials]


@pytest.mark.parametrize(
    ("at_once", "found"), [(False, [None]), (True, ["spare", None])]
)
def test_idle_clusters_are_measured_beside_each_other_and_others_in_turns(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, at_once: bool, found: list[Any]
) -> None:
    machine = Machine(monkeypatch, tmp_path / "out")
    monkeypatch.setitem(KINDS, "idle", Kind(seen, 30, "Cost", at_once=at_once))
    names = ["ours-redis-pg", "ours-orm-pg"]
    machine.bench.measure("idle", choose(names, {}))
    assert machine.lines == [(name, run, found) for run in (0, 1) for name in names]


@pytest.mark.parametrize(("kind", "size"), [("enqueue", 2500), ("latency", 200)])
def test_scale_changes_how_much_is_done_but_not_what_a_percentile_is_made_of(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, size: int
) -> None:
    sizes: list[int] = []

    def sized(trials: Sequence[Any], size: int) -> list[Any]:
        sizes.append(size)
        return seen(trials, size)

    machine = Machine(monkeypatch, tmp_path / "out")
    monkeypatch.setitem(KINDS, kind, KINDS[kind]._replace(measure=sized))
    machine.bench.measure(kind, choose(["ours-orm-pg"], {}))
    assert sizes == [size] * 2


def test_reader_of_a_list_may_stop() -> None:
    command = [sys.executable, "-m", "benchmarks", "list"]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        command, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


# --------------------------------------------------------------------------- growth


def test_efficiency_is_the_part_of_the_time_that_was_spent_in_tasks() -> None:
    lines = [line(1, 0, 40, 1), line(2, 50, 100, 1), line(3, 0, 60, 2)]
    assert efficiency(lines, workers=2) == pytest.approx(150 / 200)


def test_longest_idle_wait_is_a_pause_while_tasks_wait() -> None:
    well = [line(0, 0, 500, 1), line(1, 0, 10, 2), line(2, 13, 510, 2)]
    assert longest_idle_wait(well) == 3.0


def test_task_behind_a_long_one_waits_for_the_worker_that_is_done() -> None:
    behind = [line(0, 0, 500, 1), line(1, 0, 10, 2), line(2, 501, 502, 1)]
    assert longest_idle_wait(behind) == 491.0


def test_most_at_once_counts_tasks_between_begin_and_end() -> None:
    assert most_at_once([line(1, 0, 10), line(2, 5, 15), line(3, 10, 20)]) == 2


def test_points_that_need_more_than_was_allowed_are_left_out() -> None:
    config = CONFIGS["ours-redis-pg"]
    few = list(points_of(STORIES["waiting"], config, most=100_000, tasks=50))
    assert [point.x for point in few] == [100, 100_000]
    assert {point.tasks for point in few} == {50}
    all_of_them = points_of(STORIES["waiting"], config, most=5_000_000, tasks=None)
    assert [point.x for point in all_of_them][-1] == 5_000_000


def test_long_tasks_take_longer_than_all_short_ones_in_their_company() -> None:
    [first, *_] = STORIES["mix"].points(CONFIGS["ours-redis-pg"])
    assert first.tasks * first.x / 1000 > first.config.options["long"]


def test_curves_have_a_place_for_each_point() -> None:
    facts: dict[str, Any] = {"kind": "growth", "story": "workers", "series": "s"}
    records = [
        run("s", **facts, x=2, rate=20.0),
        run("s", **facts, x=1, rate=10.0),
        run("s", **facts, x=2, rate=40.0),
    ]
    [curve] = curves_of("workers", records)
    assert curve.points("rate") == [
        (1, Figure(10.0, 10.0, 10.0, 1)),
        (2, Figure(30.0, 20.0, 40.0, 2)),
    ]
    rows = curve_rows(STORIES["workers"], [curve])
    assert rows[2] == ["2", "s", "30", "20 to 40", "2", report.NOTHING]


def test_table_of_a_story_has_the_figures_beside_the_one_that_is_drawn() -> None:
    facts: dict[str, Any] = {"kind": "growth", "story": "rows", "series": "s"}
    rows = curve_rows(
        STORIES["rows"],
        curves_of("rows", [run("s", **facts, x=5_000_000, rate=9.0, rows_after=250)]),
    )
    assert rows[1][0] == "5,000,000"
    assert cell([row[1:] for row in rows], "s", "rows after") == "250"


# ---------------------------------------------------------------------------- pages


def test_page_shows_every_table_that_has_figures() -> None:
    records = [run("ours-redis-pg", rate=2000), run("djangoq2-redis-pg", rate=100)]
    page = pages.tables_page(records)
    for said in ("Aims", KINDS["drain"].title, "Versions", "``work`` x 2", "20.00"):
        assert said in page
    assert KINDS["idle"].title not in page
    assert page.index(KINDS["drain"].title) < page.index("performance/drain.png")
    assert page.index("performance/drain.png") < page.index("Settings")
    assert page.count(".. rst-class::") == len(list(report.tables(records)))


def test_pages_without_lines_are_empty() -> None:
    assert (pages.tables_page([]), pages.growth_page([])) == ("", "")


def test_documents_show_only_pictures_that_there_are() -> None:
    for name in (pages.TABLES, pages.GROWTH):
        text = (pages.FOLDER / name).read_text(encoding="utf-8")
        for word in text.split():
            if word.endswith(".png"):
                assert Path(pages.FOLDER.parent, word).is_file()
