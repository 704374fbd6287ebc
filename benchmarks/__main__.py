"""Measure this package beside others: `python -m benchmarks drain redis-pg --runs 3`.

What is measured is a configuration (`list` names them), a pattern such as 'ours-*', or a
group: the configurations of one aim, side by side. Servers are private and end with the
command; each peer is installed into an environment of its own, kept in a folder.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks import pages
from benchmarks.bars import groups_of
from benchmarks.bench import Bench, Plan
from benchmarks.catalogue import CONFIGS, ENVIRONMENTS, UnknownName, choose
from benchmarks.curves import growth_tables
from benchmarks.environments import Environments, InstallFailed, default_folder
from benchmarks.ground import Ground
from benchmarks.growth import STORIES
from benchmarks.measures import KINDS
from benchmarks.records import read
from benchmarks.report import STRAY, tables
from tests.environment import SetUpFailed
from tests.servers import ServerFailed

ALL: Final = "all"
MOST: Final = 100_000
DEFAULT_GROWTH: Final = ("ours-redis-pg", "ours-orm-pg")


def main(arguments: Sequence[str]) -> int:
    # Servers and workers are to end with this program, however it ends.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    options = parser().parse_args(arguments)
    try:
        result: int = options.do(options)
        sys.stdout.flush()
    except BrokenPipeError:
        # `list | head` has read enough. Python would flush once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ModuleNotFoundError as error:
        print(f"{error}: python -m pip install -e '.[bench]'", file=sys.stderr)
        return 2
    except (InstallFailed, ServerFailed, SetUpFailed, UnknownName) as error:
        print(error, file=sys.stderr)
        return 2
    return result


def parser() -> argparse.ArgumentParser:
    whole = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    whole.add_argument("--cache", type=Path, default=default_folder(), metavar="DIR")
    commands = whole.add_subparsers(required=True, metavar="COMMAND")
    setup = commands.add_parser("setup", help="install environments")
    setup.add_argument("names", nargs="*", metavar="NAME")
    setup.set_defaults(do=set_up)
    lister = commands.add_parser("list", help="configurations, groups, stories")
    lister.set_defaults(do=show_list)
    for kind, measured in KINDS.items():
        command = commands.add_parser(kind, help=measured.title)
        command.add_argument("names", nargs="*", metavar="NAME")
        command.set_defaults(do=measure, kind=kind)
        add_run_options(command)
        add_scale(command)
    add_growth(commands.add_parser("growth", help="a figure while one thing grows"))
    add_everything(commands.add_parser("all", help="every aim of every kind"))
    add_report(commands.add_parser("report", help="tables and plots of results"))
    return whole


def add_run_options(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    command.set_defaults(most=MOST, scale=1.0)
    add("--runs", type=int, default=3, help="of each, in turns; default: 3")
    add("--size", type=int, help="tasks, calls or seconds of a run")
    add("--quiet", type=float, metavar="N", help="wait for a machine so quiet")
    add("--out", type=Path, default=Path("results.jsonl"), help="lines are added")
    add("--folder", type=Path, metavar="DIR", help="where the servers keep their data")


def add_scale(command: argparse.ArgumentParser) -> None:
    help_text = "so many times the tasks that are usual"
    command.add_argument(
        "--scale", type=float, default=1.0, metavar="N", help=help_text
    )


def add_growth(command: argparse.ArgumentParser) -> None:
    command.add_argument("story", choices=[*STORIES, ALL])
    command.add_argument("names", nargs="*", default=DEFAULT_GROWTH, metavar="NAME")
    command.set_defaults(do=grow)
    add_run_options(command)
    most = f"tasks or rows to begin with, at most; default: {MOST:,}"
    command.add_argument("--most", type=int, help=most)


def add_everything(command: argparse.ArgumentParser) -> None:
    command.set_defaults(do=measure_all)
    add_run_options(command)
    add_scale(command)


def add_report(command: argparse.ArgumentParser) -> None:
    command.add_argument("files", nargs="+", type=Path, metavar="FILE")
    command.add_argument("--stray", type=float, default=STRAY, metavar="N")
    help_text = "write the tables and plots of docs/performance.rst"
    command.add_argument("--docs", action="store_true", help=help_text)
    command.set_defaults(do=report)


# -------------------------------------------------------------------------- commands


def set_up(options: argparse.Namespace) -> int:
    places = Environments(options.cache)
    for name in options.names or ENVIRONMENTS:
        if name not in ENVIRONMENTS:
            raise UnknownName(f"{name} is none of {', '.join(ENVIRONMENTS)}.")
        places.prepare([name])
        versions = places.versions(name).items()
        print(f"{name}: {', '.join(f'{key} {value}' for key, value in versions)}")
    return 0


def show_list(_options: argparse.Namespace) -> int:
    for name, config in CONFIGS.items():
        print(f"{name:24} {config.note}")
    for kind in KINDS:
        for group, members in groups_of(kind).items():
            print(f"\n{kind} {group}: {' '.join(members)}")
    print(f"\ngrowth: {' '.join(STORIES)}")
    return 0


def measure(options: argparse.Namespace) -> int:
    groups = groups_of(options.kind)
    return run(options, {options.kind: options.names or [*groups]})


def measure_all(options: argparse.Namespace) -> int:
    return run(options, {kind: [*groups_of(kind)] for kind in KINDS})


def run(options: argparse.Namespace, wanted: dict[str, list[str]]) -> int:
    chosen = {kind: choose(names, groups_of(kind)) for kind, names in wanted.items()}
    configs = [config for some in chosen.values() for config in some]
    with Ground(options.folder) as ground:
        bench = bench_of(options, ground, {config.environment for config in configs})
        for kind, some in chosen.items():
            bench.measure(kind, some)
    return 0


def grow(options: argparse.Namespace) -> int:
    configs = choose(options.names, {})
    others = [config.name for config in configs if not config.is_cluster]
    if others:
        raise UnknownName(f"{', '.join(others)}: growth is of ours and django-q2.")
    with Ground(options.folder) as ground:
        bench = bench_of(options, ground, {config.environment for config in configs})
        for story in STORIES if options.story == ALL else [options.story]:
            bench.grow(story, configs)
    return 0


def bench_of(options: argparse.Namespace, ground: Ground, names: set[str]) -> Bench:
    places = Environments(options.cache)
    places.prepare(sorted(names))
    plan = Plan(
        runs=options.runs,
        size=options.size,
        scale=options.scale,
        most=options.most,
        quiet=options.quiet,
    )
    return Bench(ground, places, options.out, plan)


def report(options: argparse.Namespace) -> int:
    records = read(options.files)
    for table in tables(
        [r for r in records if r["kind"] in KINDS], stray=options.stray
    ):
        print(table.text())
    for _name, _curves, table in growth_tables(records, stray=options.stray):
        print(table.text())
    if options.docs:
        for file in pages.write(records, stray=options.stray):
            print(f"wrote {file}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
