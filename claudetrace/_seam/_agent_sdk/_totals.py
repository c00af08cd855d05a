"""`Totals`: the CLI's own running totals against the sum of the rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from claudetrace._call import PICOUSD_PER_USD
from claudetrace._usage import count_of

if TYPE_CHECKING:
    from claudetrace._call import Row

COUNTS = {
    "inputTokens": ("input_tokens",),
    "outputTokens": ("output_tokens",),
    "cacheReadInputTokens": ("cache_read_tokens",),
    "cacheCreationInputTokens": ("cache_write_5m_tokens", "cache_write_1h_tokens"),
    "cacheCreationEphemeral1hInputTokens": ("cache_write_1h_tokens",),
    "webSearchRequests": ("web_search_requests",),
}
"""The CLI's counts, each with the columns whose sum it should be. Only newer ones tell the hour's writes apart."""
_CONTEXT = "[1m]"
_ROUNDING_PICOUSD = 10**6
"""The CLI adds dollars as floats."""


class Rest(NamedTuple):
    """What the CLI has counted for `model` and nobody has told of."""

    model: str
    usage: dict[str, Any]
    is_exact: bool
    """Whether it tells for how long cache writes were."""


class Totals:
    """What this process of the CLI has told so far, and what its rows add up to."""

    def __init__(self) -> None:
        self.reset()
        self.resumed = False
        """Whether the session has responses of earlier processes, whose totals the CLI may go on with."""

    def reset(self) -> None:
        """The CLI begins its totals anew."""
        self._rows: dict[str, dict[str, int]] = {}
        self._picousd = self._base_picousd = 0
        self._is_priced = True
        self._base: dict[str, dict[str, int]] | None = None

    def add(self, row: Row) -> None:
        """Counts a row."""
        counts = self._rows.setdefault(row.get("model") or "", dict.fromkeys(COUNTS, 0))
        for name, columns in COUNTS.items():
            counts[name] += sum(row.get(column) or 0 for column in columns)
        self._picousd += row.get("cost_picousd") or 0
        self._is_priced = self._is_priced and row.get("cost_picousd") is not None

    def compared(self, result: Mapping[str, Any], before: Mapping[str, Any] | None) -> tuple[list[Rest], str]:
        """What the totals of `result` have beyond the rows, and both sums as JSON where they differ. `before`: what the
        CLI wrote down of the session when an earlier process ended."""
        totals = result.get("modelUsage")
        if not isinstance(totals, Mapping) or not totals:
            return [], ""
        told = _counts(totals)
        picousd = _picousd(result.get("total_cost_usd"))
        rows = self._by_names(totals)
        if self._base is None:
            self._begin(told, picousd, rows, before)
        rests = []
        for name, counts in told.items() if rows is not None else ():
            known = [(self._base or {}).get(name, {}), (rows or {}).get(name, {})]
            rest = {each: count - sum(one.get(each, 0) for one in known) for each, count in counts.items()}
            if any(count > 0 for count in rest.values()):
                rests.append(_rest(name, rest))
        return rests, self._difference(picousd)

    def _difference(self, picousd: int | None) -> str:
        if picousd is None or not self._is_priced:
            return ""
        told = picousd - self._base_picousd
        if abs(told - self._picousd) <= _ROUNDING_PICOUSD:
            return ""
        return f'"agent_total_picousd":{told},"agent_rows_picousd":{self._picousd}'

    def settled(self, result: Mapping[str, Any]) -> None:
        """What still differs is told: from here on the two are compared anew."""
        if (picousd := _picousd(result.get("total_cost_usd"))) is not None:
            self._base_picousd = picousd - self._picousd

    def _begin(
        self,
        told: dict[str, dict[str, int]],
        picousd: int | None,
        rows: dict[str, dict[str, int]] | None,
        before: Mapping[str, Any] | None,
    ) -> None:
        """Finds what the totals were before the first row: nothing, but in a session that is resumed."""
        self._base = {}
        if not self.resumed:
            return
        usage = before.get("modelUsage") if before is not None else None
        past = _counts(usage) if isinstance(usage, Mapping) else None
        if past is None:
            self._base = {
                name: {each: count - (rows or {}).get(name, {}).get(each, 0) for each, count in counts.items()}
                for name, counts in told.items()
            }
            self._base_picousd = (picousd or 0) - self._picousd
        elif all(
            told.get(name, {}).get(each, -1) >= count for name, counts in past.items() for each, count in counts.items()
        ):
            # From 2.1.277 on the CLI goes on where it was; before, it begins anew.
            self._base, self._base_picousd = past, _picousd((before or {}).get("totalCostUSD")) or 0

    def _by_names(self, totals: Mapping[str, Any]) -> dict[str, dict[str, int]] | None:
        """The rows by the names that the CLI gives to models, or `None` where one has none."""
        found: dict[str, dict[str, int]] = {}
        for model, counts in self._rows.items():
            name = next((each for each, told in totals.items() if _is_called(model, each, told)), None)
            if name is None:
                return None
            sums = found.setdefault(name, dict.fromkeys(COUNTS, 0))
            for each, count in counts.items():
                sums[each] += count
        return found


def _is_called(model: str, name: str, told: Any) -> bool:
    names = {name, name.removesuffix(_CONTEXT), told.get("canonicalModel") if isinstance(told, Mapping) else None}
    return model in names or any(each and model.startswith(f"{each}-20") for each in names)


def _counts(totals: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    return {
        name: {each: count for each in COUNTS if (count := count_of(told.get(each))) is not None}
        for name, told in totals.items()
        if isinstance(told, Mapping)
    }


def _rest(model: str, rest: Mapping[str, int]) -> Rest:
    count = {name: max(0, rest.get(name, 0)) for name in COUNTS}
    written, hour = count["cacheCreationInputTokens"], count["cacheCreationEphemeral1hInputTokens"]
    usage: dict[str, Any] = {
        "input_tokens": count["inputTokens"],
        "output_tokens": count["outputTokens"],
        "cache_read_input_tokens": count["cacheReadInputTokens"],
        "cache_creation_input_tokens": written,
    }
    tells = "cacheCreationEphemeral1hInputTokens" in rest
    if tells:
        usage["cache_creation"] = {
            "ephemeral_5m_input_tokens": max(0, written - hour),
            "ephemeral_1h_input_tokens": hour,
        }
    if searches := count["webSearchRequests"]:
        usage["server_tool_use"] = {"web_search_requests": searches}
    return Rest(model.removesuffix(_CONTEXT), usage, tells or not written)


def _picousd(usd: object) -> int | None:
    """Dollars of a float, as the picodollars that are meant."""
    return round(usd * PICOUSD_PER_USD) if isinstance(usd, (int, float)) and not isinstance(usd, bool) else None
