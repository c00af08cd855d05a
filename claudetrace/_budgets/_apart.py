"""`Apart`: limits a process that may not open the budgets' store, by what it knew of it and what it spends itself."""

from __future__ import annotations

from collections import deque
from threading import Lock
from typing import TYPE_CHECKING

from claudetrace._budgets._known import Sums
from claudetrace._budgets._store import Denied, Totals
from claudetrace._forks import Forks, watch

if TYPE_CHECKING:
    from claudetrace._budgets._store import Claim, Ledgers


class Apart(Forks):
    """The budgets as this process sees them: what others spend from here on is not in it."""

    def __init__(self, ledgers: Ledgers) -> None:
        self._ledgers = ledgers
        self.after_fork_in_child()
        watch(self)

    def after_fork_in_child(self) -> None:
        """As new."""
        self._lock = Lock()
        self._sums: dict[tuple[str, str, int], Sums] | None = None
        self._open: dict[str, tuple[list[Claim], tuple[int, int]]] = {}
        # A dropped stream settles inside a garbage collection, where no lock may be waited for.
        self._settled: deque[tuple[str, int | None, int | None, int]] = deque()

    def reserve(self, claims: list[Claim], call_id: str, needed: tuple[int, int]) -> Denied | None:
        """Sets `needed` dollars and calls aside in every budget, or in none and says which had no room."""
        with self._lock:
            sums = self._now()
            for claim in claims:
                found = self._in_window(sums, claim)
                limit, most = claim.budget.limit_picousd, claim.budget.max_calls
                over = limit is not None and found.picousd + found.reserved_picousd + needed[0] > limit
                if over or (most is not None and found.calls + found.reserved_calls + needed[1] > most):
                    return Denied(claim, Totals(*found, claim.window.since))
            for claim in claims:
                self._add(sums, claim, 0, 0, *needed)
            self._open[call_id] = claims, needed
            return None

    def settle(self, call_id: str, picousd: int | None, calls: int | None, rest_picousd: int) -> None:
        """The call has ended: charges what it cost, or the estimate with `None`. Waits for no lock."""
        self._settled.append((call_id, picousd, calls, rest_picousd))

    def _now(self) -> dict[tuple[str, str, int], Sums]:
        if self._sums is None:
            names = {terms.id: name for name, terms in self._ledgers.terms.items()}
            known = self._ledgers.known.items()
            self._sums = {(names[id_], key, slot): sums for (id_, key, slot), sums in known if id_ in names}
        while self._settled:
            call_id, picousd, calls, rest = self._settled.popleft()
            claims, needed = self._open.pop(call_id, ([], (0, 0)))
            spent = needed[0] if picousd is None else picousd, needed[1] if calls is None else calls
            for claim in claims:
                held = rest if claim.budget.cut_streams == "bound" else 0
                self._add(self._sums, claim, *spent, held - needed[0], -needed[1])
        return self._sums

    def _add(self, sums: dict[tuple[str, str, int], Sums], claim: Claim, *more: int) -> None:
        where = str(claim.budget.name), claim.key, claim.window.slot
        sums[where] = sums.get(where, Sums()).plus(*more)

    def _in_window(self, sums: dict[tuple[str, str, int], Sums], claim: Claim) -> Sums:
        name, key, window = str(claim.budget.name), claim.key, claim.window
        if window.since == window.until:
            return sums.get((name, key, window.slot), Sums())
        found = Sums()
        for (of, of_key, slot), each in list(sums.items()):
            if (of, of_key) == (name, key) and window.since <= slot <= window.until:
                found = found.plus(*each)
        return found
