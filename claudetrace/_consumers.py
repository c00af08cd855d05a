"""Who is handed the rows of this process, off the caller's thread: the user's sinks, metrics, standard output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from claudetrace._call import Call, Row
    from claudetrace._guard import Guard

    Take = Callable[[list[Row]], None]


class Sink(Protocol):
    """Takes the calls of this process, off the caller's thread. What it raises is logged once and counted."""

    def write(self, calls: Sequence[Call]) -> None: ...

    def close(self) -> None: ...


class Consumers:
    """Hands rows on to each that takes them. One that fails keeps none from the others."""

    def __init__(self, guard: Guard, takers: dict[str, Take]) -> None:
        self._guard = guard
        self._takers = takers

    def __call__(self, rows: list[Row], replayed: bool) -> None:
        """Hands on `rows`, unless a process that is gone left them: it made those calls, not this one."""
        if replayed:
            return
        for doing, take in self._takers.items():
            with self._guard(doing):
                take(rows)


def to_sinks(sinks: Sequence[Sink], guard: Guard) -> Take:
    """What hands rows to `sinks` as `Call` objects."""
    from claudetrace._call import Call

    def take(rows: list[Row]) -> None:
        calls = [Call.from_row(row) for row in rows]
        for sink in sinks:
            with guard("write to a sink"):
                sink.write(calls)

    return take
