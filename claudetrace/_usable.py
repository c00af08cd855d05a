"""Whether this process may use SQLite on a file of ours, here and now.

SQLite keeps a list of its locks, which a forked child inherits without the locks. And it writes to its descriptors and
shared memory without a check. Where that could lose rows, write into a file of the host or end the host by a bus error,
rows wait in the journal instead.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from claudetrace._descriptors import held_here
from claudetrace._errors import ClaudetraceError
from claudetrace._forks import notice

if TYPE_CHECKING:
    from pathlib import Path

    from claudetrace._descriptors import Descriptor

MARGIN_BYTES = 4 * 1024 * 1024
"""How much has to be free on the disk: for a write-ahead log up to its checkpoint, its index, and a batch."""
FORKED = "it was forked while SQLite was in use"
CLOSED = "the program has closed descriptors that SQLite used"
SHM = "-shm"
_why_not: str | None = None


class UnusableError(ClaudetraceError, OSError):
    """This process may not use SQLite on a file of ours: never again, or while the disk has too little room."""


def forbid(why: str) -> None:
    """Keeps this process from opening a file of ours by SQLite for as long as it lives."""
    global _why_not
    _why_not = _why_not or why


def is_forbidden() -> bool:
    """Whether this process may never open a file of ours by SQLite again."""
    return _why_not is not None


def check(path: Path) -> None:
    """Raises `UnusableError` where this process may not use `path` by SQLite now."""
    notice()
    if _why_not is not None:
        raise UnusableError(f"this process cannot use {path}: {_why_not}; another process can")
    check_room(path)


def check_room(path: Path) -> None:
    """Raises `UnusableError` where the disk of `path` has less room than SQLite may need at once. On a full disk the
    first touch of its shared memory can be a bus error, which ends the process."""
    free = free_bytes(path)
    if free is not None and free < MARGIN_BYTES:
        raise UnusableError(
            f"the disk of {path} has {free / 2**20:.1f} MB free, and SQLite may need {MARGIN_BYTES >> 20} MB at once; "
            "make room there"
        )


def free_bytes(path: Path) -> int | None:
    """What is free for this user on the disk of `path`; `None` where that cannot be told."""
    try:
        found = os.statvfs(path.parent)
    except (OSError, AttributeError):
        return None
    return found.f_bavail * found.f_frsize


def opened(path: Path) -> list[list[Descriptor]]:
    """The descriptors of an open connection to `path`, in groups: of each, one must still lead to its file for as long
    as the connection is open.

    Whichever connection of this process they belong to, SQLite closes none that leads to the file or to its shared
    memory while one is open: that would end the locks of all. Of the log's, each connection closes its own.
    """
    shared_memory = held_here(f"{path}{SHM}")
    for held in shared_memory:
        # Without holes, whose first touch is what a full disk makes a bus error.
        with suppress(OSError, AttributeError):
            os.posix_fallocate(held.fd, 0, os.fstat(held.fd).st_size)
    groups = [held_here(f"{path}-wal"), *([held] for held in (*held_here(path), *shared_memory))]
    return [group for group in groups if group]


def check_descriptors(groups: list[list[Descriptor]], path: Path) -> None:
    """Raises `UnusableError`, now and ever after, where the program has closed a descriptor of SQLite's."""
    for group in groups:
        for held in group:
            if held.is_ours():
                break
        else:
            forbid(CLOSED)
            check(path)
