"""Anthropic's figures in every form: the analytics API, the Admin API, saved JSON, the Console's CSV files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, NamedTuple

from claudetrace._errors import ClaudetraceError
from claudetrace._pricing._ids import read_id
from claudetrace._pricing._rates import SEARCHES, TOKENS, book

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

REQUESTS = "requests"
_SPELLINGS = {
    "input": ("uncached_input_tokens", "input_no_cache", "usage_input_tokens_no_cache"),
    "cache_read": ("cache_read_input_tokens", "input_cache_read", "usage_input_tokens_cache_read"),
    "cache_write_5m": (
        "cache_creation.ephemeral_5m_input_tokens",
        "input_cache_write_5m",
        "usage_input_tokens_cache_write_5m",
    ),
    "cache_write_1h": (
        "cache_creation.ephemeral_1h_input_tokens",
        "input_cache_write_1h",
        "usage_input_tokens_cache_write_1h",
    ),
    "output": ("output_tokens", "output", "usage_output_tokens"),
}
TOKEN_KINDS = tuple(part.name for part in TOKENS)
KINDS = {
    **{theirs: part.name for part in TOKENS for theirs in _SPELLINGS[part.rate]},
    **dict.fromkeys(("server_tool_use.web_search_requests", "web_search_count", "web_search"), SEARCHES),
    REQUESTS: REQUESTS,
}
"""The ledger's name of each kind, by each of Anthropic's names for it. Any other kind is Anthropic's alone."""
PICOUSD_PER_CENT = 10**10
STANDARD = "standard"


class Cell(NamedTuple):
    """What a figure counts. The figures of both sides with the same cell count the same thing."""

    day: str
    model: str
    workspace_id: str
    service_tier: str
    speed: str
    inference_geo: str
    kind: str


@dataclass(slots=True)
class Figure:
    """Anthropic's figure for a cell. `None`: the report that has it was not read."""

    quantity: int | None = None
    list_picousd: int | None = None
    billed_picousd: int | None = None
    step_picousd: int = 0
    """How far rounding can have moved the amounts."""

    def add(self, other: Figure) -> None:
        """Adds another figure."""
        for name in ("quantity", "list_picousd", "billed_picousd"):
            amounts = [amount for each in (self, other) if (amount := getattr(each, name)) is not None]
            setattr(self, name, sum(amounts) if amounts else None)
        self.step_picousd += other.step_picousd


@dataclass(slots=True)
class Figures:
    """Anthropic's figures for some days."""

    source: str
    cells: dict[Cell, Figure] = field(default_factory=dict)
    keys: dict[tuple[str, str], Figure] = field(default_factory=dict)
    """Requests and amounts by day and key. The ledger has no keys; whoever reads the report knows them."""
    refreshed_at: datetime | None = None
    has_cost: bool = False
    has_usage: bool = False
    tells_requests: bool = False
    tells_speed: bool = False
    """Whether the cost is split by speed."""

    def add(self, items: Iterable[Mapping[str, Any]]) -> None:
        """Adds rows of the analytics API or buckets of the Admin API, of usage or of cost."""
        for item in items:
            day = date.fromisoformat(item["starting_at"][:10]).isoformat()
            for group in item["results"] if "results" in item else [item["group"]]:
                body = item.get("usage") or item.get("cost") or group
                if "amount" in body:
                    self._add_cost(day, group, body)
                else:
                    self._add_usage(day, group, body)

    def add_keys(self, items: Iterable[Mapping[str, Any]]) -> None:
        """Adds rows of cost by key."""
        for item in items:
            key = (item["starting_at"][:10], item["group"].get("api_key_id") or "")
            listed, _ = _picousd(item["cost"]["list_amount"], PICOUSD_PER_CENT)
            told = Figure(quantity=item["cost"].get("requests") or 0, list_picousd=listed)
            self.keys.setdefault(key, Figure()).add(told)

    def _add_usage(self, day: str, group: Mapping[str, Any], body: Mapping[str, Any]) -> None:
        self.has_usage = True
        self.tells_requests |= body.get(REQUESTS) is not None
        for theirs, kind in KINDS.items():
            quantity: Any = body
            for name in theirs.split("."):
                quantity = quantity.get(name) if isinstance(quantity, Mapping) else None
            # Containers of code execution count as requests without a model.
            if quantity and (kind != REQUESTS or group.get("model")):
                figure = self._figure(day, group, kind)
                figure.quantity = (figure.quantity or 0) + int(quantity)

    def _add_cost(self, day: str, group: Mapping[str, Any], body: Mapping[str, Any]) -> None:
        self.has_cost = True
        self.tells_speed |= "speed" in group
        if (currency := body.get("currency") or "USD") != "USD":
            raise ClaudetraceError(f"an amount of {day} is in {currency}; the ledger's are US dollars")
        said = group.get("token_type") or group.get("cost_type") or "other"
        figure = self._figure(day, group, KINDS.get(said, said))
        unit = PICOUSD_PER_CENT * body.get("cents_per_unit", 1)
        for column, name in (("billed_picousd", "amount"), ("list_picousd", "list_amount")):
            if (text := body.get(name)) is not None or name == "amount":
                picousd, step = _picousd(text, unit)
                setattr(figure, column, (getattr(figure, column) or 0) + picousd)
                figure.step_picousd += step

    def fold(self, *, by_workspace: bool) -> dict[str, str]:
        """Merges the cells that one side cannot tell apart. Returns the fields to replace in the ledger's cells."""
        fold = {} if self.tells_speed or not self.has_cost else {"speed": STANDARD}
        if not by_workspace:
            fold["workspace_id"] = ""
        cells: dict[Cell, Figure] = {}
        for cell, figure in self.cells.items():
            cells.setdefault(cell._replace(**fold), Figure()).add(figure)
        self.cells = cells
        return fold

    def _figure(self, day: str, group: Mapping[str, Any], kind: str) -> Figure:
        return self.cells.setdefault(cell_of(day, group, kind), Figure())


def cell_of(day: str, group: Mapping[str, Any], kind: str) -> Cell:
    """The cell of a figure or of a part of a call. Only tokens and requests have a model and its terms."""
    workspace = group.get("workspace_id") or ""
    if kind not in TOKEN_KINDS and kind != REQUESTS:
        return Cell(day, "", workspace, STANDARD, STANDARD, "", kind)
    geo = "us" if group.get("inference_geo") == "us" else ""
    tier, speed = group.get("service_tier") or STANDARD, group.get("speed") or STANDARD
    return Cell(day, own_name(group.get("model") or ""), workspace, tier, speed, geo, kind)


def own_name(model: str) -> str:
    """The model's own id, given an id, an alias or its name; any other text as it is."""
    if model.startswith("claude-"):
        return read_id(model, book().ids).model or model
    return next((id_ for id_, each in book().models.items() if each.get("name") == model), model)


def csv_items(rows: Iterable[Mapping[str, str]]) -> Iterable[Mapping[str, Any]]:
    """The rows of the Console's CSV files, of usage or of cost, in the form that `Figures.add` takes."""
    for row in rows:
        group: dict[str, Any] = {
            **{name: row.get(name) for name in ("token_type", "inference_geo", "speed")},
            "model": row.get("model_version") or row.get("model"),
            "cost_type": (row.get("cost_type") or "").replace("token", "tokens"),
            "service_tier": "batch" if "batch" in (row.get("usage_type") or "").lower() else None,
        }
        item = {"starting_at": row["usage_date_utc"], "group": group}
        if "cost_usd" in row:
            amounts = {
                "amount": row["cost_usd"],
                "list_amount": row.get("list_price_usd") or None,
                "cents_per_unit": 100,
            }
            yield {**item, "cost": amounts}
        else:
            yield {**item, "usage": {name: value for name, value in row.items() if name in KINDS}}


def _picousd(text: object, unit: int) -> tuple[int, int]:
    """An amount in picodollars, and half a unit of its last digit."""
    try:
        amount = Decimal(str(text))
        _, _, exponent = amount.as_tuple()
        assert isinstance(exponent, int)
        return round(amount * unit), int(Decimal(unit).scaleb(exponent) / 2)
    except (InvalidOperation, AssertionError, OverflowError) as error:
        raise ClaudetraceError(f"{str(text)!r:.60} is no amount of money, as Anthropic's figures have it") from error
