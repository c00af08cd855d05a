"""Each query of the Grafana dashboard over ClickHouse, against the ledger's own report. Part of `clickhouse.py`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from decimal import Context, Decimal
from pathlib import Path
from typing import Any

from chdb.session import Session

import claudetrace
from claudetrace._ledger._spend import Spend

DASHBOARD = Path(__file__).resolve().parents[2] / "dashboards" / "grafana" / "clickhouse.json"
ALL: Mapping[str, str] = {}
CHOICES: tuple[Mapping[str, str], ...] = (
    ALL,
    {"customer": "acme"},
    {"feature": "chat", "model": "claude-sonnet-5-5"},
    {"customer": "nobody's"},
)
"""What a reader chooses in the menus at the top; nobody has no calls, and none of the panels breaks."""
COUNTS = {
    "Calls": "calls",
    "Responses": "responses",
    "Failed": "errors",
    "Stopped": "blocked_calls",
    "Unpriced": "unpriced_calls",
    "Lower bounds": "lower_bound_calls",
    "Input": "input_tokens",
    "Cache read": "cache_read_tokens",
    "Cache write": "cache_write_tokens",
    "Output": "output_tokens",
}
MONEY = {"Spend": "cost_usd", "Saved by cache": "cache_saved_usd"}
BY = {"Customer": "customer", "Feature": "feature", "Model": "model"}
QUOTIENTS, ROUNDED = {"Per call", "Share"}, Context(prec=12)
"""What both sides work out in binary floats, whose last digits may differ; sums are exact."""


def differences(clickhouse: Session, db: Path) -> tuple[int, list[str]]:
    """How many queries were asked, and where one gives another figure than the ledger, or none where it has some."""
    raw = json.loads(DASHBOARD.read_text())
    asked, found = 0, []
    for variable in raw["templating"]["list"]:
        if variable["type"] == "query":
            asked += 1
            if not rows(clickhouse, variable["query"], ALL):
                found.append(f"the menu {variable['name']} is empty")
    with claudetrace.Ledger(db) as ledger:
        for chosen in CHOICES:
            panels = {}
            for panel in raw["panels"]:
                for target in panel.get("targets", ()):
                    asked += 1
                    panels[panel["title"]] = rows(clickhouse, target["rawSql"], chosen)
            for title, expected in reports(ledger, chosen):
                if panels[title] != expected:
                    found.append(f"{title}, {chosen or 'all'}:\n  ClickHouse {panels[title]}\n  ledger     {expected}")
            compared = {title for title, _ in reports(ledger, chosen)}
            if chosen == ALL:
                found += [f"{title} is empty" for title in panels if title not in compared and not panels[title]]
    return asked, found


def rows(clickhouse: Session, sql: str, chosen: Mapping[str, str]) -> list[dict[str, Any]]:
    """The answer, with dollars as `Decimal`."""
    answer = str(clickhouse.query(expanded(sql, chosen), "JSONEachRow"))
    found = [json.loads(line, parse_float=Decimal) for line in answer.splitlines()]
    return [{name: rounded(value) if name in QUOTIENTS else value for name, value in row.items()} for row in found]


def rounded(value: Any) -> Decimal | None:
    return None if value is None else ROUNDED.create_decimal(value)


def expanded(sql: str, chosen: Mapping[str, str]) -> str:
    """What the data source's macros and the menus make of a query, of all time."""
    sql = re.sub(
        r"\$__timeFilter_ms\((\w+)\)",
        r"\1 >= fromUnixTimestamp64Milli(0) AND \1 <= fromUnixTimestamp64Milli(4102444800000)",
        sql,
    )
    for name in ("customer", "feature", "model", "service"):
        all_of_it = f"$__conditionalAll({name} IN (${{{name}:singlequote}}), ${name})"
        quoted = "'" + chosen.get(name, "").replace("'", "\\'") + "'"
        sql = sql.replace(all_of_it, f"{name} IN ({quoted})" if name in chosen else "1=1")
    assert "$" not in sql, sql
    return sql


def reports(ledger: claudetrace.Ledger, chosen: Mapping[str, str]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The rows that panels must have, by the panel's title, as the ledger's report has them."""

    def spend(*by: str) -> list[Spend]:
        return list(ledger.spend(by=by, since="all", where=dict(chosen)))

    total = ledger.spend(by=(), since="all", where=dict(chosen)).total
    yield "Spend", [{"Spend": number(total.cost_usd)}]
    yield "Calls", [{"Calls": total.calls}]
    yield "Saved by cache", [{"Saved": number(total.cache_saved_usd)}]
    yield "Without a price", [{"Unpriced": total.unpriced_calls}]
    yield "Lower bounds", [{"Bounds": total.lower_bound_calls}]
    for title, by in BY.items():
        monthly = [
            {
                "Month": row["month"],
                title: row[by] or "(none)",
                "Calls": row.calls,
                "Unpriced": row.unpriced_calls,
                "Spend": number(row.cost_usd),
            }
            for row in spend("month", by)
        ]
        monthly.sort(key=lambda row: (-int(row["Month"].replace("-", "")), -row["Spend"], row[title]))
        yield f"{title}s by month", monthly
        daily = [
            {"time": f"{row['day']} 00:00:00", "name": row[by] or "(none)", "spend": number(row.cost_usd)}
            for row in spend("day", by)
        ]
        yield f"Spend per day, by {by}", sorted(daily, key=lambda row: (row["time"], row["name"]))
        ranked = [ranking(title, by, row, total) for row in spend(by)]
        yield f"{title}s", sorted(ranked, key=lambda row: (-row["Spend"], row[title]))


def ranking(title: str, by: str, row: Spend, total: Spend) -> dict[str, Any]:
    counts = {name: getattr(row, field) for name, field in COUNTS.items()}
    money = {name: number(getattr(row, field)) for name, field in MONEY.items()}
    per_call = float(row.cost_usd) / row.calls if row.calls else None
    share = float(row.cost_usd) / float(total.cost_usd) if total.cost_usd else None
    shares = {"Per call": rounded(per_call), "Share": rounded(share)}
    return {title: row[by] or "(none)", **counts, **money, **shares}


def number(value: Decimal) -> Any:
    """As JSON of ClickHouse has it once it is read: whole numbers are `int`, others `Decimal`."""
    return json.loads(f"{value:f}", parse_float=Decimal)
