"""`Blocks`: which `with` blocks are in force here. Each entry is kept apart, so that none outlives its end."""

from __future__ import annotations

import gc
import sys
from contextlib import suppress
from contextvars import Context, ContextVar, Token
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, Self, TypeVar
from weakref import ref

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BlockT = TypeVar("BlockT")
ViewT = TypeVar("ViewT")

_owner: ContextVar[None] = ContextVar("claudetrace_owner", default=None)
"""Holds nothing. A token of it is valid in the context that made it, and in no copy of that."""


def caller() -> int:
    """The frame that called the caller: `with` leaves a block from the one that entered it."""
    return id(sys._getframe(2))  # noqa: SLF001 - there is no other way to know it


class Entry(Generic[BlockT]):
    """One time that `source` was entered, from the frame of that id."""

    __slots__ = ("__weakref__", "block", "ended", "frame", "source", "token")

    def __init__(self, source: object, block: BlockT, frame: int) -> None:
        self.source = source
        self.block = block
        self.frame = frame
        self.ended = False
        """Whether it has, while another context than the one it ended in may still hold it."""
        self.token: Token[None] = _owner.set(None)

    def was_made_here(self) -> bool:
        """Whether this is the context that entered it, and no copy."""
        try:
            _owner.reset(self.token)
        except ValueError:
            return False
        # A token is valid once.
        self.token = _owner.set(None)
        return True


class _Here(NamedTuple, Generic[BlockT, ViewT]):
    """What is in force in one context."""

    entries: tuple[Entry[BlockT], ...]
    view: ViewT
    before: _Here[BlockT, ViewT] | None = None
    """The same before the last entry, where nothing else has changed since."""


class Blocks(Generic[BlockT, ViewT]):
    """The entries that are in force, as `view` shows their blocks, the outermost first.

    A generator may be finished in another task or thread than it was entered in, whose context then still holds its
    entry: there it is out of force. Whoever inherited an entry while it was open keeps it. Nothing here raises.
    """

    def __init__(self, name: str, view: Callable[[Sequence[BlockT]], ViewT]) -> None:
        self._view = view
        nothing = _Here[BlockT, ViewT]((), view(()))
        self._here: ContextVar[_Here[BlockT, ViewT]] = ContextVar(name, default=nothing)
        # Weakly: a block that is never left ends with its context.
        self._open: dict[ref[Entry[BlockT]], None] = {}

    def get(self) -> ViewT:
        """What is in force here."""
        here = self._here.get()
        for entry in here.entries:
            if entry.ended:
                return self._without_ended(here).view
        return here.view

    def _without_ended(self, here: _Here[BlockT, ViewT]) -> _Here[BlockT, ViewT]:
        kept = tuple(entry for entry in here.entries if not (entry.ended and entry.was_made_here()))
        return here if len(kept) == len(here.entries) else self._set(kept)

    def _set(
        self, entries: tuple[Entry[BlockT], ...], before: _Here[BlockT, ViewT] | None = None
    ) -> _Here[BlockT, ViewT]:
        here = _Here(entries, self._view([entry.block for entry in entries]), before)
        self._here.set(here)
        return here

    def enter(self, source: object, block: BlockT, frame: int) -> None:
        """Puts `block` in force here, until `leave`."""
        entry, here = Entry(source, block, frame), self._here.get()
        if here.entries:
            here = self._without_ended(here)
        self._open[ref(entry, self._forget)] = None
        self._set((*here.entries, entry), here)

    def leave(self, source: object, frame: int) -> None:
        """Ends the entry of `source` from that frame, as `with` does; else the last one here, else the last one."""
        entry = self._entry_of(source, frame)
        if entry is None:
            return
        self._forget(ref(entry))
        made_here = entry.was_made_here()
        self._drop(entry)
        if not made_here:
            entry.ended = True
            self._drop_where_made(entry)

    def _forget(self, entry: ref[Entry[BlockT]]) -> None:
        self._open.pop(entry, None)

    def _entry_of(self, source: object, frame: int) -> Entry[BlockT] | None:
        entries = self._here.get().entries
        if entries and entries[-1].source is source and entries[-1].frame == frame:
            return entries[-1]
        here = [entry for entry in entries if entry.source is source and ref(entry) in self._open]
        opened = [entry for known in list(self._open) if (entry := known()) is not None]
        everywhere = [entry for entry in opened if entry.source is source]
        found = [entry for entry in everywhere if entry.frame == frame] or here or everywhere
        return found[-1] if found else None

    def _drop(self, entry: Entry[BlockT]) -> None:
        entries, _, before = self._here.get()
        if before is not None and entries[-1] is entry:
            self._here.set(before)
        elif entry in entries:
            self._set(tuple(each for each in entries if each is not entry))

    def _drop_where_made(self, entry: Entry[BlockT]) -> None:
        """Drops it in the context that made it, unless that runs now: what is copied from there later is without it."""
        made_in: list[Any] = [each for each in gc.get_referents(entry.token) if isinstance(each, Context)]
        for context in made_in:
            with suppress(RuntimeError):  # it runs, and sees for itself that the entry has ended
                context.run(self._drop, entry)


class Block:
    """A block that is in force itself while it is entered. Entering and leaving never raise."""

    _blocks: ClassVar[Blocks[Any, Any]]

    def __enter__(self) -> Self:
        self._blocks.enter(self, self, caller())
        return self

    def __exit__(self, *_error: object) -> None:
        self._blocks.leave(self, caller())
