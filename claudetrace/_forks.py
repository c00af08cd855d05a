"""What must happen around a fork, for every writer of this process: registered once, since it cannot be undone."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from weakref import WeakSet

if TYPE_CHECKING:
    from pathlib import Path


class Forks:
    """Something that has a part to play around a fork."""

    def before_fork(self) -> None:
        """Ends what must not be cut in two."""

    def after_fork_in_parent(self) -> None:
        """Goes on."""

    def after_fork_in_child(self) -> None:
        """Starts anew, leaving to the parent what is the parent's."""


_watched: WeakSet[Forks] = WeakSet()


def watch(forks: Forks) -> None:
    """Calls the methods of `forks` around each fork, as long as it lives."""
    _watched.add(forks)


def _before() -> None:
    for forks in list(_watched):
        forks.before_fork()


def _in_parent() -> None:
    for forks in list(_watched):
        forks.after_fork_in_parent()


def _in_child() -> None:
    for forks in list(_watched):
        forks.after_fork_in_child()


def is_open_here(path: Path) -> bool:
    """Whether this process, just forked, holds the file at `path` open, as something else of the parent's did."""
    try:
        wanted = os.stat(path)  # noqa: PTH116 - right after a fork
        numbers = os.listdir("/dev/fd")  # noqa: PTH208 - the same
    except OSError:
        return False
    return any(_is_same(int(number), wanted) for number in numbers)


def _is_same(fd: int, wanted: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), wanted)
    except OSError:
        return False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
