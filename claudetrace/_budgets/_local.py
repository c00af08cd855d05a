"""`Local`: limits calls while the store is away, by what this process knew of it and what it spends itself."""

from __future__ import annotations

from collections import deque
from threading import RLock
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from claudetrace._budgets._store import Denied, Sums, Totals
from claudetrace._budgets._windows import bucket_s, rolling_s
from claudetrace._forks import Forks, watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from claudetrace._budgets._store import Claim, Rest, Store

    Where: TypeAlias = tuple[str, str, int]

MOST = 100_000
NOTHING = Sums()


class Reserved(NamedTuple):
    """What one call has set aside."""

    claims: Sequence[Claim]
    picousd: int
    calls: int

    def reserve(self, call_id: str, store: Store) -> None:
        """Sets it aside in the store, which did not know of it."""
        store.reserve(call_id, *self, forced=True)


class Charged(NamedTuple):
    """What a call has cost: dollars and calls, `None` for what was set aside; and what its cut streams can cost."""

    picousd: int | None
    calls: int | None
    rests: tuple[Rest, ...]

    @property
    def held(self) -> int:
        return sum(rest.picousd for rest in self.rests)


class Local(Forks):
    """Budgets as this process sees them. What others spend while the store is away is not in it: so it takes the others
    to spend what it does, and all together keep to the limit but for the calls that run."""

    def __init__(self) -> None:
        self._known: dict[Where, Sums] = {}
        """The store's counters, as they were seen last."""
        self._own: dict[Where, Sums] = {}
        """What calls of this process have added since, and the store has not heard of."""
        self.open: dict[str, Reserved] = {}
        # A dropped stream settles inside a garbage collection, where no lock may be waited for.
        self._settled: deque[tuple[str, Reserved, Charged]] = deque()
        self.after_fork_in_child()
        watch(self)

    def after_fork_in_child(self) -> None:
        # A signal handler may call while the code that it interrupted has it.
        self._lock = RLock()

    def saw(self, name: str, key: str, slot: int, sums: Sums) -> None:
        """Remembers a counter of the store's."""
        if len(self._known) >= MOST and (name, key, slot) not in self._known:
            self._known.pop(next(iter(self._known)), None)
        self._known[name, key, slot] = sums

    def reserve(self, call_id: str, wanted: Reserved, peers: int) -> Denied | None:
        """Sets so much aside in every budget, or in none and says which had no room. Of `peers` processes each takes
        what others take to be as much as its own."""
        with self._lock:
            self._fold()
            # First set aside and then looked at, so that a signal handler's call in between sees it.
            self.open[call_id] = wanted
            for claim in wanted.claims:
                known, own = self._in_window(claim, self._known), self._own_in_window(claim, call_id)
                budget = claim.budget.raised(known.granted_picousd, known.granted_calls)
                limits = (budget.limit_picousd, budget.max_calls)
                used = zip(limits, _used(known), _used(own), wanted[1:], strict=True)
                if any(
                    limit is not None and others + max(mine, mine * peers) + needed > limit
                    for limit, others, mine, needed in used
                ):
                    del self.open[call_id]
                    return Denied(claim, Totals(**known.plus(*own)._asdict(), oldest_slot=claim.window.since))
        return None

    def withdraw(self, call_id: str) -> None:
        """What was set aside for the call was not."""
        with self._lock:
            self.open.pop(call_id, None)

    def settle(self, call_id: str, reserved: Reserved, charged: Charged) -> None:
        """A call has ended for which this or the store has set something aside. Waits for no lock."""
        self._settled.append((call_id, reserved, charged))

    def telling(self) -> Iterator[Callable[[Store], None]]:
        """What tells the store of the calls that were let through without it and still run. Those that have ended tell
        it themselves. Afterwards they are forgotten here; those that were let through meanwhile are not."""
        told = dict(self.open)

        def tell(store: Store) -> None:
            for call_id, reserved in told.items():
                reserved.reserve(call_id, store)

        yield tell
        with self._lock:
            self._fold()
            self._own.clear()
            for call_id in told:
                self.open.pop(call_id, None)

    @property
    def is_used(self) -> bool:
        """Whether anything was counted here since the store was away."""
        return bool(self._own or self._settled or self.open)

    def _fold(self) -> None:
        while self._settled:
            call_id, reserved, charged = self._settled.popleft()
            spent = (
                reserved.picousd if charged.picousd is None else charged.picousd,
                reserved.calls if charged.calls is None else charged.calls,
            )
            # What is set aside here goes with it. In the store it stays until that is there again.
            was_here = self.open.pop(call_id, None) is not None
            picousd, calls = (0, 0) if was_here else reserved[1:]
            for claim in reserved.claims:
                held = charged.held if claim.budget.cut_streams == "bound" else 0
                where = _where(claim)
                self._own[where] = self._own.get(where, NOTHING).plus(*spent, held - picousd, -calls)

    def _in_window(self, claim: Claim, of: dict[Where, Sums]) -> Sums:
        name, found = str(claim.budget.name), NOTHING
        for slot in _slots(claim):
            found = found.plus(*of.get((name, claim.key, slot), NOTHING))
        return found

    def _own_in_window(self, claim: Claim, call_id: str) -> Sums:
        """What calls of this process but that one have added and have set aside here."""
        picousd = calls = 0
        for other, opened in list(self.open.items()):
            if other != call_id and any(
                each.budget is claim.budget and each.key == claim.key for each in opened.claims
            ):
                picousd += opened.picousd
                calls += opened.calls
        return self._in_window(claim, self._own).plus(0, 0, picousd, calls)


def _used(sums: Sums) -> tuple[int, int]:
    """What is spent and reserved, dollars and calls."""
    return sums.picousd + sums.reserved_picousd, sums.calls + sums.reserved_calls


def _where(claim: Claim) -> Where:
    return str(claim.budget.name), claim.key, claim.window.slot


def _slots(claim: Claim) -> Iterator[int]:
    window = claim.window
    if window.since == window.until:
        yield window.slot
    else:
        yield from range(window.since, window.until + 1, bucket_s(rolling_s(claim.budget.per)))
