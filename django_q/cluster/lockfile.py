"""Lock file: proves on one host that nothing of a cluster lives any more.

All processes of a cluster hold the same small file with a shared lock. The system lets
go of it when the last of them has ended, whatever ended them, and also those that a task
forked. Who then gets the lock for himself alone knows that nobody is left to run, save or
renew anything. No pid and no age proves that.
"""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from django_q import clock

if sys.platform != "win32":
    import fcntl

BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"
KEPT: Final = 24 * 60 * 60.0
"""Seconds for which a dead cluster's file waits for somebody who wants to know."""

LENGTH_OF_ID: Final = 32


class LockFile:
    """The file of one cluster; can be sent to its processes, each of which holds it.

    A file that is missing proves nothing: then tasks wait for the end of the lease.
    """

    def __init__(self, folder: str, key: str, cluster: str) -> None:
        self.folder = Path(folder)
        self.key = key
        """What clusters have in common that may rescue each other's tasks."""
        self.cluster = cluster
        self.name = f"{key}-{cluster}"
        self._descriptor: int | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_descriptor": None}

    # -- of a process of the cluster

    def create(self) -> None:
        """Make the file and hold it. Raises OSError where that is not possible, or where
        others could interfere.
        """
        with suppress(FileExistsError):
            self.folder.mkdir(0o700)
        # Nobody sees it by its name before it is locked.
        new = f"{self.name}.new"
        descriptor = self._open(new, os.O_CREAT | os.O_EXCL)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            (self.folder / new).rename(self.folder / self.name)
        except OSError:
            os.close(descriptor)
            (self.folder / new).unlink()
            raise
        self._descriptor = descriptor

    def hold(self) -> None:
        """Hold the file until this process ends.

        Where that is not possible it is removed, so that nobody takes the cluster for
        dead while we live.
        """
        try:
            self._descriptor = self._open(self.name)
            fcntl.flock(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            (self.folder / self.name).unlink(missing_ok=True)

    def leave(self, *, is_clean: bool) -> None:
        """All other processes have ended. Only a cluster that stopped cleanly takes its
        file with it: there is nothing left to rescue.
        """
        if is_clean:
            (self.folder / self.name).unlink(missing_ok=True)
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    # -- of whoever looks after others

    def bury_others(self, rescue: Callable[[str], None]) -> None:
        """Call `rescue` with the id of each cluster of this key that is dead for certain,
        and forget it then, unless that raised.
        """
        for name in self._names():
            key, _, cluster = name.partition("-")
            is_whole = len(cluster) == LENGTH_OF_ID
            if is_whole and key == self.key and cluster != self.cluster:
                with self._alone(name) as is_dead:
                    if is_dead:
                        rescue(cluster)
                        (self.folder / name).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove the files of the dead that nobody has asked for, and keep ours young:
        also the programs that tidy up temporary folders go by the age.
        """
        with suppress(FileNotFoundError):
            os.utime(self.folder / self.name)
        for name in self._names():
            path = self.folder / name
            with suppress(FileNotFoundError):
                if clock.now().timestamp() - path.lstat().st_mtime > KEPT:
                    with self._alone(name) as is_dead:
                        if is_dead:
                            path.unlink()

    def _names(self) -> list[str]:
        try:
            # Every two seconds: to make paths of the names would take most of that.
            return os.listdir(self.folder)  # noqa: PTH208
        except OSError:
            return []

    @contextmanager
    def _alone(self, name: str) -> Iterator[bool]:
        """Whether nobody else holds this file, nor can until the end of the block."""
        try:
            descriptor = self._open(name)
        except OSError:
            yield False
            return
        try:
            yield lock_alone(descriptor)
        finally:
            os.close(descriptor)

    # -- the folder

    def _open(self, name: str, flags: int = 0) -> int:
        """Open a file of ours in a folder that is ours alone."""
        safe = os.O_NOFOLLOW | os.O_CLOEXEC
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | safe)
        try:
            require_privacy(os.fstat(folder), str(self.folder))
            descriptor = os.open(name, os.O_RDWR | safe | flags, 0o600, dir_fd=folder)
        finally:
            os.close(folder)
        try:
            require_privacy(os.fstat(descriptor), name)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor


def lock_alone(descriptor: int) -> bool:
    """Lock a file that nobody else has locked; False if somebody has, or if it is gone:
    a cluster that was started again under its id has another one.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return os.fstat(descriptor).st_nlink > 0


def require_privacy(facts: os.stat_result, name: str) -> None:
    """Raises PermissionError for what belongs to somebody else, or is open to others."""
    if facts.st_uid != os.geteuid() or stat.S_IMODE(facts.st_mode) & 0o077:
        message = f"{name} is not private"
        raise PermissionError(message)


def private_folder() -> str:
    """Where files of this user may be; nothing is made yet."""
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR", ""))
    with suppress(OSError):
        # It may be left over from the user who became us.
        if runtime.is_absolute() and runtime.stat().st_uid == os.geteuid():
            return str(runtime / "django-q")
    return str(Path(tempfile.gettempdir()) / f"django-q-{os.geteuid()}")


def boot_id() -> str:
    """Which start of which kernel this is: a folder may be shared by hosts, but locks may
    not. Empty on systems that do not tell.
    """
    with suppress(OSError):
        return Path(BOOT_ID).read_text(encoding="ascii").strip()
    return ""
