"""Whatever is asked, `Ledger.spend`, the report's CSV and plain SQL over the calls give the same sums."""

from __future__ import annotations

import csv
import io
import itertools
import random
import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from pricing._ledgers import unpriced_row, write

from claudetrace import Ledger
from claudetrace._ledger import _rollups

from .conftest import run

QUESTIONS = 200
DIMENSIONS = {
    "model": "model",
    "model_requested": "model_requested",
    "feature": "feature",
    "customer": "customer",
    "user": "user_id",
    "session": "session_id",
    "prompt": "prompt",
    "operation": "operation",
    "outcome": "outcome",
    "stop_reason": "CASE WHEN outcome = 'ok' THEN stop_reason END",
    "error_type": "CASE WHEN outcome <> 'ok' THEN error_type END",
    "platform": "platform",
    "service": "service",
    "environment": "environment",
    "instance": "instance",
    "workspace": "workspace_id",
    "organization": "organization_id",
    "source": "source",
    "server_address": "server_address",
    "project": "project",
    "agent": "agent",
    "billing": "billing",
    "tag:team": "tags ->> 'team'",
    "tag:a b": "tags ->> '$.\"a b\"'",
    "hour": "local_hour(started_at)",
    "day": "SUBSTR(local_hour(started_at), 1, 10)",
    "week": "DATE(SUBSTR(local_hour(started_at), 1, 10), '-6 days', 'weekday 1')",
    "month": "SUBSTR(local_hour(started_at), 1, 7)",
}
ZONES = ("UTC", "UTC", "UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata")
TIMES = (
    *(("all", None), ("2026-10-01", "2026-11-01"), ("2026-09-14", "2026-11-16"), ("2026-10-05", "2026-10-19")),
    *(("2026-10-24T10:20", "2026-11-02T03:07"), ("2026-10-25", "2026-10-26"), ("2026-10-25T00:30", "2026-10-25T00:45")),
)
MEASURES = """
    COUNT(*) FILTER (WHERE rowid = (SELECT MIN(o.rowid) FROM calls AS o WHERE o.call_id = calls.call_id)),
    COUNT(*),
    COUNT(*) FILTER (WHERE outcome = 'error' AND error_type IS NOT 'BudgetExceeded'),
    COUNT(*) FILTER (WHERE cost_picousd IS NULL),
    COUNT(*) FILTER (WHERE cost_picousd IS NOT NULL AND usage_is_final = 0),
    TOTAL(input_tokens),
    TOTAL(cache_write_5m_tokens),
    TOTAL(output_tokens),
    TOTAL(spend_picousd)
"""
FIELDS = (
    *("calls", "responses", "errors", "unpriced_calls", "lower_bound_calls"),
    *("input_tokens", "cache_write_5m_tokens", "output_tokens", "spend_picousd"),
)


def _rows(draw: random.Random) -> list[dict]:
    """Calls of two and a half months, some in the hours in which clocks change."""
    some = lambda *values: draw.choice(values)  # noqa: E731
    rows = []
    for number in range(420):
        day, hour = draw.randrange(75), some(0, 1, 2, 5, 11, 18, 22, 23)
        month = ("09", "10", "11")[day // 31]
        at = f"2026-{month}-{day % 31 % 28 + 1:02d}T{hour:02d}:{some('00', '10', '30', '59')}:00.000Z"
        if number % 9 == 0:
            at = f"2026-{some('10-25', '11-01')}T{some('00', '01', '05', '06')}:{some('00', '30')}:00.000Z"
        outcome = some("ok", "ok", "ok", "error", "cancelled", "incomplete")
        final = outcome in {"ok", "error"}
        row = unpriced_row(
            {"input_tokens": draw.randrange(5000), "output_tokens": draw.randrange(500)},
            started_at=at,
            outcome=outcome,
            stop_reason=some("end_turn", "tool_use") if outcome == "ok" else None,
            error_type=some("overloaded_error", "BudgetExceeded") if outcome == "error" else None,
            usage_is_final=int(final),
            cost_picousd=some(draw.randrange(10**12), draw.randrange(10**12), None) if outcome != "error" else 0,
            cost_flags="[]" if final else '["partial_usage"]',
            cost_parts=None,
            cache_write_5m_tokens=some(None, 0, 700),
            model=some("m1", "m2", None),
            model_requested=some("m1", "m2"),
            platform=some("anthropic", "bedrock"),
            operation=some("messages.create", "messages.count_tokens"),
            tags=some(None, '{"team":"a"}', '{"team":"b","a b":"ä"}', '{"a b":"x"}'),
            **{name: some(None, f"{name}1", f"{name}2") for name in ("feature", "prompt", "service", "instance")},
            customer=some(None, *(f"c{n}" for n in range(9))),
            user_id=some(None, "u1", "u2", "ü"),
            session_id=some(None, *(f"s{n}" for n in range(30))),
            **{name: some(None, "x", "y") for name in ("workspace_id", "organization_id", "project", "agent")},
            environment=some("prod", "test"),
            billing=some(None, "api", "subscription"),
            source=some("anthropic", "recorded"),
            server_address=some("api.anthropic.com", "gateway"),
        )
        if rows and number % 11 == 0:
            row["call_id"] = rows[-1]["call_id"]
        rows.append({name: value for name, value in row.items() if value is not None})
    return rows


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        # So few that some days have others.
        patch.setattr(_rollups, "MAX_VALUES_A_DAY", 2)
        return write(tmp_path_factory.mktemp("figures") / "ledger.db", _rows(random.Random(7)))


def _questions() -> list[tuple]:
    draw = random.Random(11)
    values = {"model": ("m1", "m2"), "customer": ("c1", "c2"), "feature": ("feature1",), "user": ("u1", "ü")}
    values |= {"outcome": ("ok", "error"), "tag:team": ("a", "zzz"), "month": ("2026-10",), "platform": ("bedrock",)}
    values |= {"session": ("s1", "s2"), "billing": ("api",), "stop_reason": ("end_turn",), "tag:a b": ("ä",)}
    found = []
    for _ in range(QUESTIONS):
        by = draw.sample(list(DIMENSIONS), draw.choice((0, 1, 1, 2, 2, 3, 3)))
        where = [
            (name, draw.sample((*values[name], ""), draw.choice((1, 1, 2))), draw.random() < 0.3)
            for name in draw.sample(list(values), draw.choice((0, 0, 1, 1, 2)))
        ]
        found.append((by, where, draw.choice(TIMES), draw.choice(ZONES)))
    return found


def _plain(path: Path, by: list[str], where: list, time: tuple, zone: str) -> dict[tuple, tuple[int, ...]]:
    """The sums of each key by a scan of the table `calls` alone."""
    from datetime import UTC, datetime

    clock = ZoneInfo(zone)

    def local_hour(stamp: str) -> str:
        at = datetime.fromisoformat(stamp).astimezone(clock)
        return f"{at:%Y-%m-%dT%H}" + ("" if zone == "UTC" else f"{at:%z}"[:3] + ":" + f"{at:%z}"[3:])

    def moment(text: str) -> str:
        return f"{datetime.fromisoformat(text).replace(tzinfo=clock).astimezone(UTC):%Y-%m-%dT%H:%M:%S.000Z}"

    conditions, values = ["TRUE"], []
    for name, asked, negated in where:
        conditions.append(f"COALESCE({DIMENSIONS[name]}, '') {'NOT' * negated} IN ({', '.join('?' * len(asked))})")
        values += asked
    for end, sign in zip(time, (">=", "<"), strict=True):
        if end not in {None, "all"}:
            conditions.append(f"started_at {sign} ?")
            values.append(moment(end))
    keys = "".join(f"NULLIF({DIMENSIONS[name]}, ''), " for name in by)
    groups = f"GROUP BY {', '.join(str(n + 1) for n in range(len(by)))}" if by else ""
    sql = f"SELECT {keys} {MEASURES} FROM calls WHERE {' AND '.join(conditions)} {groups}"
    with closing(sqlite3.connect(path)) as connection:
        connection.create_function("local_hour", 1, local_hour)
        rows = connection.execute(sql, values).fetchall()
    return {tuple(row[: len(by)]): tuple(map(int, row[len(by) :])) for row in rows}


def _is_among_the_others(by: list[str]) -> bool:
    return any(name in {"customer", "user", "prompt"} or name.startswith("tag:") for name in by)


def test_every_way_gives_the_same_sums(path):
    """200 random questions of up to three dimensions, filters, times and zones: the rows are those of plain SQL, the
    CSV has them too, and in each the parts add up to the total."""
    ledger, ways, with_others = Ledger(path), set(), 0
    for by, where, (since, until), zone in _questions():
        asked = {f"{name}{'!' * negated}": [value or None for value in values] for name, values, negated in where}
        found = ledger.spend(by, since, until, asked, timezone=zone)
        said = list(itertools.chain.from_iterable(("--by", name) for name in by)) or ["--by", ""]
        for name, values, negated in where:
            for value in values:
                said += ["--where", f"{name}{'!' * negated}={value}"]
        told = run(
            "report",
            *said,
            "--since",
            since,
            *(["--until", until] if until else []),
            "--timezone",
            zone,
            "--csv",
            "--db",
            path,
        )
        assert told.exit_code == 0, told.output
        read = list(csv.DictReader(io.StringIO(told.stdout)))
        expected = _plain(path, by, where, (since, until), zone)
        what = (by, where, since, until, zone)

        assert tuple(getattr(found.total, field) for field in FIELDS) == tuple(
            sum(amounts[place] for amounts in expected.values()) if expected else 0 for place in range(len(FIELDS))
        ), what
        assert tuple(sum(getattr(row, field) for row in found) for field in FIELDS) == tuple(
            getattr(found.total, field) for field in FIELDS
        ), what
        assert [[row[name] for name in by] for row in read] == [[row[name] or "" for name in by] for row in found], what
        assert sum((Decimal(row["cost_usd"]) for row in read), Decimal(0)) == found.total.cost_usd, what
        ways.add(found.answered_from)
        if any(row.others for row in found):
            # Sums count what came too late on a day together, and say which values may lack calls.
            with_others += 1
            exact = {key: amounts for key, amounts in expected.items() if amounts[1]}
            for row in found:
                if not (row.others or row.too_low):
                    key = tuple(row.dimensions.values())
                    assert tuple(getattr(row, field) for field in FIELDS) == exact[key], (what, key)
            continue
        assert {tuple(row.dimensions.values()): tuple(getattr(row, field) for field in FIELDS) for row in found} == {
            key: amounts for key, amounts in expected.items() if amounts[1] or not by
        }, what
    assert ways == {"sums", "calls", "sums and calls"}
    assert with_others > 1


def test_the_most_expensive_sessions_of_all_time(path):
    """They are found without reading every call, with the same figures, and the rest has all other calls."""
    ledger = Ledger(path)
    whole, cut = (ledger.spend("session", None, top=top) for top in (None, 4))
    named = [row for row in whole if row.session]

    assert [*cut][:4] == named[:4]
    assert cut.total == whole.total
    assert cut[4].rest == len(named) - 4
    assert cut[4].spend_picousd == whole.total.spend_picousd - sum(row.spend_picousd for row in named[:4])
    assert cut[4].calls + sum(row.calls for row in named[:4]) == whole.total.calls
    assert cut.answered_from == "sums and calls"


def test_what_top_cuts_is_in_the_rest(path):
    """With --top the rows are the first ones and one for the rest, in the CSV too, and the total is the same."""
    whole, cut = (Ledger(path).spend(("customer", "model"), None, top=top) for top in (None, 3))
    read = list(
        csv.DictReader(
            io.StringIO(
                run("report", "--by", "customer,model", "--since", "all", "--top", 3, "--csv", "--db", path).stdout
            )
        )
    )

    assert [*cut][:3] == [*whole][:3]
    assert cut.total == whole.total
    assert (cut[3].rest, cut[3].spend_picousd) == (len(whole) - 3, sum(row.spend_picousd for row in whole[3:]))
    assert (read[3]["customer"], read[3]["rest"]) == ("(rest)", str(len(whole) - 3))
    assert sum(Decimal(row["cost_usd"]) for row in read) == whole.total.cost_usd
