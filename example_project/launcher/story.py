"""What demo.py does, in order: set up, start, give work, show, stop."""

from __future__ import annotations

import re
import shutil
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from launcher import environment, ports
from launcher.child import Child
from launcher.options import MANAGE, Options, read
from launcher.screen import Screen, Step
from launcher.stopping import Stop, StopAsked
from launcher.troupe import Trouble, Troupe, near

RUNNING = re.compile(r"Q Cluster (\S+) running")
LEFT_BEHIND = (".secret", "db.sqlite3*", "demo.log")
END = "Everything is in example_project/ and .venv; delete them to start afresh."


def main(arguments: Sequence[str]) -> int:
    """Run the demo; gives the exit code."""
    options, screen, stop = read(arguments), Screen(), Stop()
    demo = Demo(options, screen, stop)
    try:
        return demo.run()
    except StopAsked:
        screen.say()
        return 0 if demo.is_up else 128 + stop.signal
    except Trouble as trouble:
        screen.say(f"\n{trouble}")
    except OSError as error:
        screen.say(f"\n{error}. Is there room on the disk, and may you write here?")
    except Exception:  # noqa: BLE001 - the edge of the program
        confess(options.log, screen)
    finally:
        demo.troupe.stop_everything()
        if demo.is_up:
            screen.say(f"Stopped. {END}")
    return 1


def confess(log: Path, screen: Screen) -> None:
    """An error of the demo itself: one sentence here, the rest in the log."""
    with suppress(OSError), log.open("a", encoding="utf-8") as file:
        traceback.print_exc(file=file)
    screen.say(f"\nThe demo itself is broken. Please report what {near(log)} says.")


class Demo:
    """The four steps, the results, and what comes after them."""

    def __init__(self, options: Options, screen: Screen, stop: Stop) -> None:
        self.options = options
        self.screen = screen
        self.stop = stop
        self.troupe = Troupe(options, screen, stop)
        self.is_up = False
        """Set once everything runs and only a person can end it."""

    def run(self) -> int:
        self.screen.say(self.screen.paint("loud", "django-q demo"))
        self.make_room()
        python = self.prepare_environment()
        self.prepare_database(python)
        self.start_cluster(python)
        url = self.start_site(python)
        self.screen.say()
        came = self.show_results(python)
        if self.options.headless:
            return self.conclude(url, came=came)
        self.is_up = True
        self.say_where(python, url)
        return self.watch()

    def make_room(self) -> None:
        """An empty log; with --clean, nothing of earlier runs."""
        files = self.options.files
        if self.options.clean:
            for pattern in LEFT_BEHIND:
                for file in files.glob(pattern):
                    file.unlink()
            for name in ("media", "mail"):
                shutil.rmtree(files / name, ignore_errors=True)
        files.mkdir(parents=True, exist_ok=True)
        self.options.log.write_bytes(b"")

    # -- the steps

    def prepare_environment(self) -> Path:
        step = Step(self.screen, "1/4", "environment")
        if self.options.no_venv:
            python = Path(sys.executable)
            step.done(f"no .venv, {environment.versions(python)}")
            return python
        wheels = [self.options.wheels] if self.options.wheels else []
        self.troupe.begin(
            "set-up", [sys.executable, "-m", "launcher.environment", *wheels]
        )
        child = self.troupe.finish("set-up", step)
        if child.code:
            raise Trouble(child.last_words())
        python = environment.python_of_environment()
        step.done(f".venv, {environment.versions(python)}")
        return python

    def prepare_database(self, python: Path) -> None:
        step = Step(self.screen, "2/4", "database")
        self.troupe.begin("database", [python, MANAGE, "prepare"])
        child = self.troupe.finish("database", step)
        if child.code:
            raise Trouble(
                f"The database can't be made: {child.last_words().rstrip('.')}. "
                "Start afresh: python3 example_project/demo.py --clean"
            )
        step.done(f"{near(self.options.files / 'db.sqlite3')}, {child.last_words()}")

    def start_cluster(self, python: Path) -> None:
        step = Step(self.screen, "3/4", "cluster")
        cluster = self.troupe.begin("cluster", [python, MANAGE, "qcluster"])
        if not self.troupe.wait_for("cluster", step, runs):
            raise self.troupe.trouble("cluster", cluster)
        found = RUNNING.search(cluster.words())
        name = found[1] if found else "a cluster"
        step.done(f"{name}, {self.options.workers} workers, broker: SQLite")

    def start_site(self, python: Path) -> str:
        """Start the web site on the first free port; gives its address."""
        step = Step(self.screen, "4/4", "web site")
        wanted = self.options.port
        for port in ports.free_ports(wanted):
            url = f"http://{ports.HOST}:{port}/"
            if self.serve(python, port, url, step):
                step.done(url if port == wanted else f"{url}  ({wanted} is taken)")
                return url
        raise Trouble(
            f"Port {wanted} and the next {ports.TRIED - 1} are taken. "
            "Name another one: --port 9000"
        )

    def serve(self, python: Path, port: int, url: str, step: Step) -> bool:
        """False if somebody else has taken the port just now."""
        address = f"{ports.HOST}:{port}"
        command: list[str | Path] = [python, MANAGE, "runserver", "--noreload", address]
        site = self.troupe.begin("web site", command)
        if self.troupe.wait_for(
            "web site", step, lambda _: ports.status_of(url) is not None
        ):
            self.check_site(url)
            return True
        if "already in use" not in site.words():
            raise self.troupe.trouble("web site", site)
        return False

    def check_site(self, url: str) -> None:
        status = ports.status_of(url)
        if status != ports.FINE:
            what = f"answers with status {status}" if status else "does not answer"
            where = f"All of it is in {near(self.options.log)}."
            raise Trouble(f"The web site {what}. {where}")

    # -- the results

    def show_results(self, python: Path) -> bool:
        """Give the cluster its work; gives whether all came as it should."""
        command: list[str | Path] = [python, MANAGE, "showcase"]
        if self.options.headless:
            command.append("--headless")
        self.troupe.begin("showcase", command, shows=True)
        child = self.troupe.finish("showcase")
        if "Traceback" in child.words() and child.code == 1:
            raise self.troupe.trouble("showcase", child)
        return child.code == 0

    def conclude(self, url: str, *, came: bool) -> int:
        """Without a person: stop, and judge."""
        self.check_site(url)
        complaints = [] if came else ["Not every expected outcome came."]
        self.screen.say()
        code = self.troupe.stop_everything()
        if code:
            complaints.append(f"The cluster ended with exit code {code}.")
        if complaints:
            where = f"All of it is in {near(self.options.log)}."
            self.screen.say(" ".join([*complaints, where]))
            return 1
        self.screen.say("Every expected outcome came.")
        return 0

    def say_where(self, python: Path, url: str) -> None:
        lines = {
            "Web site": url,
            "Admin": f"{url}admin/    admin / admin",
            "Terminal": f"{near(python)} {near(MANAGE)} qmonitor",
            "Next": "open Failed tasks in the admin, tick one and resubmit it",
            "Stop": "Ctrl-C",
        }
        self.screen.say()
        for name, text in lines.items():
            self.screen.say(f"    {self.screen.paint('loud', f'{name:<11}')} {text}")

    def watch(self) -> int:
        """Until somebody stops it."""
        while True:
            self.troupe.look_after()
            self.stop.pause(0.2)


def runs(cluster: Child) -> bool:
    """Does the cluster say that it runs?"""
    return RUNNING.search(cluster.words()) is not None
