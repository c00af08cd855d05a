"""Descriptors of ours, which the host may close at any time, and open files of its own under their numbers."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias

from claudetrace._errors import ClaudetraceError

try:
    import fcntl
except ModuleNotFoundError as error:
    raise ClaudetraceError(
        "claudetrace records on Linux and macOS: call instrument() there alone, or set CLAUDETRACE_ENABLED=false"
    ) from error

if TYPE_CHECKING:
    from pathlib import Path

Identity: TypeAlias = "tuple[int, int]"
"""Device and inode: which file it is, whatever its path or its descriptor."""


def identity(file: int | str | Path) -> Identity | None:
    """Which file this path or descriptor leads to now."""
    try:
        found = os.stat(file)  # noqa: PTH116 - once a batch
    except OSError:
        return None
    return found.st_dev, found.st_ino


_SET, _GET = getattr(fcntl, "F_SETSIG", None), getattr(fcntl, "F_GETSIG", None)
MARKS = range(64, 48, -1)
"""Signals, of which the system would send one if it were asked to tell of input. Nobody asks, and others' files have
none."""


def mark(fd: int, number: int) -> bool:
    """Marks the open file behind `fd` with this one of `MARKS`. Whether the system can do that: Linux can."""
    if _SET is None:
        return False
    try:
        fcntl.fcntl(fd, _SET, number)
    except OSError:
        return False
    return is_marked(fd, number)


def is_marked(fd: int, number: int) -> bool:
    """Whether `fd` leads to an open file with that mark: takes a quarter as long as to ask which file it is."""
    try:
        return fcntl.fcntl(fd, _GET or 0) == number
    except (OSError, ValueError):
        return False


def lock(fd: int) -> bool:
    """Locks the open file behind `fd` until it is closed. Whether it could: not while another process has it locked."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Descriptor:
    """A descriptor, and the file that it was opened for."""

    __slots__ = ("fd", "file")

    def __init__(self, fd: int) -> None:
        found = os.fstat(fd)
        self.fd = fd
        self.file = found.st_dev, found.st_ino

    def is_ours(self) -> bool:
        """Whether the number still leads to that file. Costs a microsecond."""
        try:
            found = os.fstat(self.fd)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self.file

    def close(self) -> None:
        """Closes it, unless the number is somebody else's by now."""
        if self.fd >= 0 and self.is_ours():
            os.close(self.fd)
        self.fd = -1


def held_here(path: str | Path) -> list[Descriptor]:
    """The descriptors of this process that lead to the file at `path`, whoever opened them; none where the system does
    not tell."""
    wanted = identity(path)
    found: list[Descriptor] = []
    try:
        numbers = map(int, os.listdir("/dev/fd") if wanted else ())  # noqa: PTH208 - names alone
    except OSError:
        return found
    for number in numbers:
        # The descriptor that listed them is closed by now.
        with suppress(OSError):
            held = Descriptor(number)
            found += [held] if held.file == wanted else []
    return found
