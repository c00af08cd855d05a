"""What must happen around a fork. The hooks are registered once for all, since Python cannot unregister them.

Python does not see every fork: uWSGI skips its hooks, and C code calls `fork` itself. So whatever belongs to one
process calls `notice` before it is used.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import TYPE_CHECKING
from weakref import ref

from claudetrace._clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Callable

WAIT_S = 1.0


class Forks:
    """Something that must act around a fork."""

    def before_fork(self) -> None:
        """Finishes what must not be interrupted by a fork. Not called where Python does not see the fork."""

    def after_fork_in_parent(self) -> None:
        """Goes on. Not called where Python does not see the fork."""

    def after_fork_in_child(self) -> None:
        """Starts anew, leaving to the parent what is the parent's."""

    def begin_in_child(self) -> None:
        """Starts what has to run in each process. Called once all have begun anew."""


_watched: set[ref[Forks]] = set()
"""Copied in one step of the interpreter, since other threads add to it: not so a `WeakSet`."""
_in_children: list[Callable[[], object]] = []
_pid = _first_pid = os.getpid()
_noticed: dict[int, int] = {}
"""By the number of a process, which of its threads noticed the fork first."""


def watch(forks: Forks) -> None:
    """Calls the methods of `forks` around each fork, as long as it lives."""
    _watched.add(ref(forks, _watched.discard))


def in_child(act: Callable[[], object]) -> None:
    """Calls `act` in each forked child."""
    _in_children.append(act)


def is_before_forks() -> bool:
    """Whether this is uWSGI's process before it forks its workers, which Python does not see. If a thread of ours
    waited for the interpreter's lock at that moment, each worker would hang at its end."""
    uwsgi = sys.modules.get("uwsgi")
    return uwsgi is not None and os.getpid() == _first_pid and not uwsgi.worker_id()


def notice() -> None:
    """Calls what is due in a child if this process is a fork that Python did not see. Takes no lock."""
    if os.getpid() != _pid:
        _notice_unseen()


def _notice_unseen() -> None:
    me, pid = threading.get_ident(), os.getpid()
    if _noticed.setdefault(pid, me) == me:
        if _pid != pid and not _noticed.get(-pid):
            # Once, though a stream that a garbage collection drops meanwhile asks again.
            _noticed[-pid] = me
            _in_child()
        return
    until = monotonic() + WAIT_S
    while _pid != pid and monotonic() < until:
        time.sleep(0.001)


def _living() -> list[Forks]:
    return [forks for each in list(_watched) if (forks := each()) is not None]


def _before() -> None:
    for forks in _living():
        forks.before_fork()


def _in_parent() -> None:
    for forks in _living():
        forks.after_fork_in_parent()


def _in_child() -> None:
    global _pid
    for act in _in_children:
        act()
    for forks in _living():
        forks.after_fork_in_child()
    _pid = os.getpid()
    for forks in _living():
        forks.begin_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
