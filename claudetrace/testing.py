"""For tests: `recorded()`, and a pytest plugin with the fixture `claude_calls` and the marker `claude_budget(usd=…)`.

@pytest.mark.claude_budget(usd=0.05)
def test_the_agent_is_cheap(claude_calls):
    agent("where is my order?")
    assert len(claude_calls.calls) <= 3
"""

from __future__ import annotations

# As a plugin, this is loaded whenever pytest starts, so what it needs is imported when it is first used.
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from claudetrace._testing import FLUSH_S, Recorded

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from decimal import Decimal

    from claudetrace._call import Call

__all__ = ["Recorded", "recorded"]


@contextmanager
def recorded() -> Iterator[Recorded]:
    """A block whose calls are recorded, in a temporary ledger that is deleted after it.

    with claudetrace.testing.recorded() as calls:
        agent("where is my order?")
    assert calls.cost_usd < Decimal("0.05")

    If calls are recorded already, they stay where they are, and those of the block are read from that ledger.
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
