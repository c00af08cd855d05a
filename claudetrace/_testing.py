"""`Recorded`: the calls of a block, for tests. What it needs is imported when it is first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal
    from pathlib import Path

    from claudetrace._call import Call

FLUSH_S = 10.0


class Recorded:
    """What `recorded()` and the fixture `claude_calls` give: the calls of a block that have ended so far."""

    def __init__(self, db: Path, since: datetime) -> None:
        self._db = db
        # The ledger's times are cut to milliseconds: a call just after `since` may be told as before it.
        self._since = since.replace(microsecond=since.microsecond // 1000 * 1000)
        self._seen = {call.id for call in self._read()}
        self._closed: list[Call] | None = None

    @property
    def calls(self) -> list[Call]:
        """The calls, oldest first: a `Call` for each billable response and for each call that failed."""
        if self._closed is not None:
            return list(self._closed)
        from claudetrace._errors import ClaudetraceError
        from claudetrace._instrument import flush

        if not flush(FLUSH_S):
            raise ClaudetraceError(
                f"the calls were not in the ledger {self._db} after {FLUSH_S:g} s: "
                "see the log of claudetrace, or run `claudetrace doctor --db` on it"
            )
        return [call for call in reversed(self._read()) if call.id not in self._seen]

    @property
    def cost_usd(self) -> Decimal:
        """What they cost in US dollars, exact, without those in `unpriced_calls`."""
        from claudetrace._call import exact_usd

        return exact_usd(sum(call.spend_picousd or 0 for call in self.calls))

    @property
    def unpriced_calls(self) -> list[Call]:
        """The calls whose cost is not known; their `cost_flags` say why."""
        return [call for call in self.calls if call.spend_picousd is None]

    def close(self) -> None:
        """Ends the recording; the calls stay as they are now."""
        self._closed = self.calls

    def _read(self) -> list[Call]:
        from claudetrace._ledger._read import Ledger

        if not self._db.exists():
            return []
        return Ledger(self._db).calls(since=self._since, limit=None)
