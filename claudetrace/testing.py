"""For tests: `recorded()` gives the calls of a block; a pytest plugin with `claude_calls` and `claude_budget`.

As a plugin it is loaded at each start of pytest, so what it needs is imported when it is first used.
"""

from __future__ import annotations

from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from datetime import datetime
    from decimal import Decimal
    from pathlib import Path

    from claudetrace._call import Call

__all__ = ["Recorded", "recorded"]

FLUSH_S = 10.0


class Recorded:
    """The calls of a block, as far as they have ended. After the block they are as they were at its end."""

    def __init__(self, db: Path, since: datetime) -> None:
        self._db = db
        # The ledger's times are cut to milliseconds: a call just after `since` may be told as before it.
        self._since = since.replace(microsecond=since.microsecond // 1000 * 1000)
        self._seen = {call.id for call in self._read()}
        self._closed: list[Call] | None = None

    @property
    def calls(self) -> list[Call]:
        """The calls so far, oldest first: a `Call` for each billable response and each call that failed."""
        if self._closed is not None:
            return list(self._closed)
        import claudetrace

        if not claudetrace.flush(FLUSH_S):
            raise claudetrace.ClaudetraceError(
                f"the calls were not in the ledger {self._db} after {FLUSH_S:g} s: "
                "see the log of claudetrace, or run `claudetrace doctor --db` on it"
            )
        return [call for call in reversed(self._read()) if call.id not in self._seen]

    @property
    def cost_usd(self) -> Decimal:
        """What the priced calls add to a bill."""
        from claudetrace._call import usd

        return usd(sum(call.spend_picousd or 0 for call in self.calls)) or _zero()

    @property
    def unpriced_calls(self) -> list[Call]:
        """The calls whose cost cannot be known, with the reasons in their `cost_flags`."""
        return [call for call in self.calls if call.spend_picousd is None]

    def close(self) -> None:
        """Keeps the calls as they are now."""
        self._closed = self.calls

    def _read(self) -> list[Call]:
        import claudetrace

        if not self._db.exists():
            return []
        return claudetrace.Ledger(self._db).calls(since=self._since, limit=None)


@contextmanager
def recorded() -> Iterator[Recorded]:
    """The calls of the block, recorded to a ledger that goes with it.

    Where calls are recorded already, they stay recorded as they are, and the block's are read from that
    ledger.
    """
    from datetime import UTC, datetime
    from pathlib import Path
    from tempfile import TemporaryDirectory

    import claudetrace
    from claudetrace._instrument import running

    since = datetime.now(UTC)
    if (current := running()) is not None:
        if current.settings.db is None:
            raise claudetrace.ClaudetraceError(
                "recorded() reads a ledger, and calls are recorded with db=False: "
                "call claudetrace.uninstrument() before it"
            )
        current.flush(FLUSH_S)
        calls = Recorded(Path(current.settings.db), since)
        try:
            yield calls
        finally:
            calls.close()
        return
    with TemporaryDirectory(prefix="claudetrace-") as folder:
        db = Path(folder) / "ledger.db"
        with claudetrace.instrument(db=db):
            calls = Recorded(db, since)
            try:
                yield calls
            finally:
                calls.close()


def _zero() -> Decimal:
    from decimal import Decimal

    return Decimal(0)


def over_budget(calls: Recorded, limit_usd: Decimal) -> str | None:
    """What to tell where `calls` cost more than `limit_usd`, or may have."""
    from decimal import Decimal

    spent_usd, unpriced = calls.cost_usd, calls.unpriced_calls
    lines = []
    if spent_usd > limit_usd:
        over_usd = (spent_usd - limit_usd).quantize(Decimal("0.000001"))
        lines.append(f"{len(calls.calls)} calls cost ${spent_usd:f}, ${over_usd:f} over the ${limit_usd:f} allowed")
        lines += [f"  ${call.cost_usd or 0:f}  {call.operation}  {call.model}" for call in calls.calls]
    if unpriced:
        lines.append(f"not in that budget, as their cost is not known: {_unpriced_text(unpriced)}")
    return "\n".join(lines) if spent_usd > limit_usd else None


def _unpriced_text(unpriced: list[Call]) -> str:
    """Which calls have no known cost, and why."""
    return ", ".join(
        f"{call.operation} {call.model or call.model_requested} ({', '.join(call.cost_flags)})" for call in unpriced
    )


if find_spec("pytest") is not None:
    import pytest

    def pytest_configure(config: pytest.Config) -> None:
        """Makes the marker known."""
        config.addinivalue_line(
            "markers", "claude_budget(usd): fails the test whose Claude calls cost more than `usd` dollars"
        )

    @pytest.fixture
    def claude_calls() -> Iterator[Recorded]:
        """The Claude calls of this test."""
        with recorded() as calls:
            yield calls

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
        """Holds a test with the marker `claude_budget` to it."""
        marker = item.get_closest_marker("claude_budget")
        if marker is None:
            return (yield)
        limit_usd = _limit(marker)
        with recorded() as calls:
            outcome = yield
        if (told := over_budget(calls, limit_usd)) is not None:
            pytest.fail(told, pytrace=False)
        if unpriced := calls.unpriced_calls:
            item.warn(pytest.PytestWarning("claude_budget does not know all costs: " + _unpriced_text(unpriced)))
        return outcome

    def _limit(marker: pytest.Mark) -> Decimal:
        from decimal import Decimal

        try:
            (amount,) = (*marker.args, *marker.kwargs.values())
            return Decimal(str(amount))
        except (ArithmeticError, ValueError):
            raise pytest.UsageError(
                f"claude_budget takes one amount in dollars, as claude_budget(usd=0.05), not {marker}"
            ) from None
