"""`Local`: limits calls while the store is away, by what this process knew of it and what it spends itself."""

from __future__ import annotations

from collections import deque
from threading import RLock
from typing import TYPE_CHECKING, TypeAlias

from claudetrace._alerts._patterns import Latest
from claudetrace._budgets._records import Charged, Claim, Denied, Part
from claudetrace._budgets._totals import Totals
from claudetrace._forks import Forks, watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from claudetrace._budgets._store import Store


Where: TypeAlias = tuple[str, str, int]
MOST = 100_000
NOTHING = Totals()


class Local(Forks):
    """Budgets as this process sees them. What others spend while the store is away is not in it: so it takes the others
    to spend what it does, and all together keep to the limit but for the calls that run."""

    def __init__(self) -> None:
        self._known = Latest[Where, Totals](MOST)
        """The store's counters, as they were seen last."""
        self._own: dict[Where, Totals] = {}
        """What calls of this process have added since, and the store has not heard of."""
        self.open: dict[str, Part] = {}
        # A dropped stream settles inside a garbage collection, where no lock may be waited for.
        self._settled: deque[tuple[Part, Charged]] = deque()
        self.after_fork_in_child()
        watch(self)

    def after_fork_in_child(self) -> None:
        # A signal handler may call while the code that it interrupted has it.
        self._lock = RLock()

    def saw(self, name: str, key: str, slot: int, counter: Totals) -> None:
        """Remembers a counter of the store's."""
        self._known.put((name, key, slot), counter)

    def reserve(self, wanted: Part, peers: int) -> Denied | None:
        """Sets so much aside in every budget, or in none and says which had no room. Of `peers` processes each takes
        what others take to be as much as its own."""
        with self._lock:
            self._fold()
            # First set aside and then looked at, so that a signal handler's call in between sees it.
            self.open[wanted.call_id] = wanted
            for claim in wanted.claims:
                known, own = _in_window(claim, self._known), self._own_in_window(claim, wanted.call_id)
                budget = claim.budget.raised(known)
                limits = (budget.limit_picousd, budget.max_calls)
                others, mine = (known.used_picousd, known.used_calls), (own.used_picousd, own.used_calls)
                used = zip(limits, others, mine, (wanted.picousd, wanted.calls), strict=True)
                if any(
                    limit is not None and theirs + max(ours, ours * peers) + needed > limit
                    for limit, theirs, ours, needed in used
                ):
                    del self.open[wanted.call_id]
                    return Denied(claim, known.plus(own)._replace(oldest_slot=claim.window.since))
        return None

    def withdraw(self, call_id: str) -> None:
        """What was set aside for the call was not."""
        with self._lock:
            self.open.pop(call_id, None)

    def settle(self, reserved: Part, charged: Charged) -> None:
        """A call has ended for which this or the store has set something aside. Waits for no lock."""
        self._settled.append((reserved, charged))

    def telling(self) -> Iterator[Callable[[Store], None]]:
        """What tells the store of the calls that were let through without it and still run. Those that have ended tell
        it themselves. Afterwards they are forgotten here; those that were let through meanwhile are not."""
        told = list(self.open.values())

        def tell(store: Store) -> None:
            for part in told:
                store.reserve(*part, forced=True)

        yield tell
        with self._lock:
            self._fold()
            self._own.clear()
            for part in told:
                self.open.pop(part.call_id, None)

    @property
    def is_used(self) -> bool:
        """Whether anything was counted here since the store was away."""
        return bool(self._own or self._settled or self.open)

    def _fold(self) -> None:
        while self._settled:
            reserved, charged = self._settled.popleft()
            picousd = reserved.picousd if charged.picousd is None else charged.picousd
            calls = reserved.calls if charged.calls is None else charged.calls
            # What is set aside here goes with it. In the store it stays until that is there again.
            was_here = self.open.pop(reserved.call_id, None) is not None
            open_picousd, open_calls = (0, 0) if was_here else (reserved.picousd, reserved.calls)
            for claim in reserved.claims:
                held = charged.held if claim.budget.cut_streams == "bound" else 0
                more = Totals(picousd, calls, -open_picousd, -open_calls, held_picousd=held)
                where = *claim.place, claim.window.slot
                self._own[where] = self._own.get(where, NOTHING).plus(more)

    def _own_in_window(self, claim: Claim, call_id: str) -> Totals:
        """What calls of this process but that one have added and have set aside here."""
        found = _in_window(claim, self._own)
        for other, part in list(self.open.items()):
            if other != call_id and any(each.place == claim.place for each in part.claims):
                found = found.plus(Totals(0, 0, part.picousd, part.calls))
        return found


def _in_window(claim: Claim, of: Mapping[Where, Totals]) -> Totals:
    window, found = claim.window, NOTHING
    for slot in range(window.since, window.until + 1, window.step_s or 1):
        found = found.plus(of.get((*claim.place, slot), NOTHING))
    return found
