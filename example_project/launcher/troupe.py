"""Troupe: all the children of the demo, from their start to the last one's end."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic, sleep

from launcher.child import Child
from launcher.options import HERE, ROOT, Options
from launcher.screen import Screen, Step
from launcher.stopping import GLANCE, Stop

STOPPED = re.compile(r"Q Cluster \S+ has stopped: (.*)")
MISLEADING = ("DJANGO_SETTINGS_MODULE", "Q_CLUSTER_NAME", "PYTHONHOME")
START_LIMIT = 60.0
"""Seconds that a cluster or a web site may take to start."""


class Trouble(Exception):
    """What went wrong and what to do, in one sentence."""


class Troupe:
    """Starts children, waits for them, and leaves none of them behind."""

    def __init__(self, options: Options, screen: Screen, stop: Stop) -> None:
        self.options = options
        self.screen = screen
        self.stop = stop
        self.children: dict[str, Child] = {}
        self.log = near(options.log)

    def begin(
        self, name: str, command: Sequence[str | Path], *, shows: bool = False
    ) -> Child:
        """Start a child; `shows` lets it write to the screen."""
        around = surroundings(self.options, os.environ)
        child = Child(command, self.options.log, around, shows=shows)
        self.children[name] = child
        return child

    def finish(self, name: str, step: Step | None = None) -> Child:
        """Wait until the child has done its work and ended."""
        child = self.children.pop(name)
        try:
            while not child.has_ended:
                self.look_after()
                self.stop.pause()
                if step:
                    step.tick()
        finally:
            child.end()
        return child

    def wait_for(self, name: str, step: Step, fact: Callable[[Child], bool]) -> bool:
        """Wait until the child is as it should be; False if it ended instead."""
        child, deadline = self.children[name], monotonic() + START_LIMIT
        while not fact(child):
            if child.has_ended:
                return False
            if monotonic() > deadline:
                text = f"The {name} was not there after {START_LIMIT:.0f} s"
                raise Trouble(f"{text}. All of it is in {self.log}.")
            step.tick()
            self.stop.pause()
        return True

    def look_after(self) -> None:
        """Raise Trouble when one of those that should stay has ended."""
        for name, child in self.children.items():
            if child.has_ended:
                raise self.trouble(name, child)

    def trouble(self, name: str, child: Child) -> Trouble:
        reason = child.last_words().rstrip(".")
        return Trouble(f"The {name} has ended: {reason}. All of it is in {self.log}.")

    def stop_everything(self) -> int:
        """See everybody off, the cluster last; gives the cluster's exit code."""
        cluster = self.children.pop("cluster", None)
        while self.children:
            _, child = self.children.popitem()
            child.end()
        return self._drain(cluster) if cluster else 0

    def _drain(self, cluster: Child) -> int:
        """Let the tasks in hand finish; hurry when asked again, end it when thrice."""
        began, heard = monotonic(), self.stop.count
        cluster.ask_to_stop()
        while not cluster.has_ended:
            if self.stop.count > heard:
                heard += 1
                cluster.hurry()
            text = (
                "Stopping: the tasks in hand may finish. Ctrl-C again gives them 5 s."
            )
            self.screen.whisper(f"{text}  {monotonic() - began:.0f} s")
            sleep(GLANCE)
        cluster.clear_group()
        found = STOPPED.search(cluster.words())
        if found:
            self.screen.say(f"The cluster has stopped: {found[1]}")
        return cluster.code or 0


def surroundings(options: Options, ours: Mapping[str, str]) -> dict[str, str]:
    """The environment of the children: ours, without what would mislead them."""
    kept = {name: text for name, text in ours.items() if name not in MISLEADING}
    paths = [str(HERE), str(ROOT)]
    if options.no_venv and kept.get("PYTHONPATH"):
        paths.append(kept["PYTHONPATH"])
    return kept | {
        "EXAMPLE_FILES": str(options.files),
        "EXAMPLE_WORKERS": str(options.workers),
        "PIP_USER": "0",
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
    }


def near(path: Path) -> str:
    """The path as one would type it here."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
