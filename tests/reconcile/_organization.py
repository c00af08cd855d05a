"""A loopback Anthropic that knows what an organization used: the analytics API and the Admin API.

Its arithmetic and its prices are its own. What is asked of it is checked by the SDK's types, and what it answers is
made by them.
"""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from anthropic.types.beta.organization import analytics as types
from pydantic import TypeAdapter

ADMIN_KEY = "sk-ant-admin01-loopback"
KINDS = {
    "uncached_input_tokens": 0,
    "cache_read_input_tokens": 1,
    "cache_creation.ephemeral_5m_input_tokens": 2,
    "cache_creation.ephemeral_1h_input_tokens": 3,
    "output_tokens": 4,
}
SEARCH_CENTS = Decimal(1)
# Dollars for a million tokens, in the order of KINDS.
PRICES = {
    "claude-sonnet-4-6": ("3", "0.30", "3.75", "6", "15"),
    "claude-opus-4-8": ("5", "0.50", "6.25", "10", "25"),
    "claude-haiku-4-5-20251001": ("1", "0.10", "1.25", "2", "5"),
}
ANALYTICS_PARAMS = {
    "usage": (types.usage_list_params.UsageListParams, types.BetaAnalyticsUsageItem),
    "cost": (types.cost_list_params.CostListParams, types.BetaAnalyticsCostItem),
}
LISTS = ("group_by", "workspace_ids", "api_key_ids")
ADMIN_USAGE, ADMIN_COST = "/v1/organizations/usage_report/messages", "/v1/organizations/cost_report"
ADMIN_LISTS = {ADMIN_USAGE: LISTS, ADMIN_COST: ("group_by",)}
ADMIN_GROUPS = {
    ADMIN_USAGE: {
        *("api_key_id", "workspace_id", "model", "service_tier", "context_window", "inference_geo", "speed"),
    },
    ADMIN_COST: {"workspace_id", "description"},
}


@dataclass(kw_only=True)
class Served:
    """A request that the API has answered."""

    at: datetime
    seconds: float = 1.0
    model: str = "claude-sonnet-4-6"
    workspace: str = "wrkspc_1"
    key: str = "apikey_1"
    tier: str = "standard"
    speed: str = "standard"
    tokens: tuple[int, ...] = (1000, 0, 0, 0, 100)
    searches: int = 0
    billed: bool = True

    @property
    def group(self) -> dict[str, str]:
        return {
            "model": self.model,
            "workspace_id": self.workspace,
            "service_tier": self.tier,
            "speed": self.speed,
        }

    @property
    def ended(self) -> datetime:
        return self.at + timedelta(seconds=self.seconds)


@dataclass(kw_only=True)
class Organization:
    """What was served, what is charged for it, and how the reports answer."""

    served: list[Served] = field(default_factory=list)
    prices: dict[str, tuple[str, ...]] = field(default_factory=lambda: dict(PRICES))
    discount: Decimal = Decimal(0)
    alone: dict[tuple[str, str], Decimal] = field(default_factory=dict)
    """Cents by day and type of cost: code execution, session time."""
    page_rows: int = 7
    refused_with: int | None = None
    """The status with which the analytics API answers this organization."""
    broken_with: int | None = None
    """The status with which everything is answered."""
    busy: int = 0
    """How many requests are answered with 429 first."""
    refreshed_at: datetime | None = None
    asked: list[tuple[str, dict[str, list[str]]]] = field(default_factory=list)

    def known(self, params: dict[str, list[str]]) -> list[Served]:
        since, until = (datetime.fromisoformat(params[name][0]) for name in ("starting_at", "ending_at"))
        keys, workspaces = params.get("api_key_ids"), params.get("workspace_ids")
        return [
            each
            for each in self.served
            if since <= each.ended < until
            and (self.refreshed_at is None or each.ended < self.refreshed_at)
            and (not keys or each.key in keys)
            and (not workspaces or each.workspace in workspaces)
        ]

    def cents(self, each: Served, place: int) -> Decimal:
        cents = Decimal(self.prices[each.model][place]) * each.tokens[place] / 10_000
        cents *= 2 if each.speed == "fast" else 1
        return cents / 2 if each.tier == "batch" else cents

    def usage(self, params: dict[str, list[str]]) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
        """By day and group: the counts."""
        sums: dict[Any, list[int]] = defaultdict(lambda: [0] * 7)
        for each in self.known(params):
            group = each.group
            told = sums[each.ended.date().isoformat(), json.dumps(group)]
            for place, count in enumerate((*each.tokens, each.searches, 1)):
                told[place] += count
        return [
            (
                day,
                json.loads(group),
                {
                    "uncached_input_tokens": told[0],
                    "cache_read_input_tokens": told[1],
                    "cache_creation": {"ephemeral_5m_input_tokens": told[2], "ephemeral_1h_input_tokens": told[3]},
                    "output_tokens": told[4],
                    "server_tool_use": {"web_search_requests": told[5]},
                    "requests": told[6],
                    "total_tokens": sum(told[:5]),
                },
            )
            for (day, group), told in sums.items()
        ]

    def cost(self, params: dict[str, list[str]]) -> list[tuple[str, dict[str, Any], Decimal]]:
        """By day and group, with the type of cost and of tokens: cents at list price."""
        sums: dict[Any, Decimal] = defaultdict(Decimal)
        for each in self.known(params):
            if not each.billed or each.tier == "priority":
                continue
            day = each.ended.date().isoformat()
            if params["group_by"] == ["api_key_id"]:
                key = day, json.dumps({"api_key_id": each.key})
                sums[key] += sum((self.cents(each, place) for place in KINDS.values()), SEARCH_CENTS * each.searches)
                continue
            group = each.group
            for name, place in KINDS.items():
                if each.tokens[place]:
                    sums[day, json.dumps({**group, "cost_type": "tokens", "token_type": name})] += self.cents(
                        each, place
                    )
            if each.searches:
                told = {"workspace_id": each.workspace, "cost_type": "web_search", "token_type": None, "model": None}
                sums[day, json.dumps(told)] += SEARCH_CENTS * each.searches
        for (day, cost_type), cents in self.alone.items():
            if (
                params["group_by"] != ["api_key_id"]
                and params["starting_at"][0][:10] <= day < params["ending_at"][0][:10]
            ):
                sums[day, json.dumps({"workspace_id": "wrkspc_1", "cost_type": cost_type, "model": None})] += cents
        return [(day, json.loads(group), cents) for (day, group), cents in sums.items()]


class Api:
    """`organization` over HTTP on loopback."""

    def __init__(self, organization: Organization) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"of": organization}))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    of: Organization

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        path, params = urlsplit(self.path).path, defaultdict(list)
        for name, value in parse_qsl(urlsplit(self.path).query):
            assert name.endswith("[]") == (name.removesuffix("[]") in LISTS), name
            params[name.removesuffix("[]")].append(value)
        params.pop("beta", None)
        self.of.asked.append((path, dict(params)))
        status, body = self._answer(path, dict(params))
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.send_header("retry-after-ms", "1")
        self.end_headers()
        self.wfile.write(content)

    def _answer(self, path: str, params: dict[str, list[str]]) -> tuple[int, Any]:
        if ADMIN_KEY not in (self.headers["x-api-key"], (self.headers["authorization"] or "").removeprefix("Bearer ")):
            return _error(401, "authentication_error", "invalid x-api-key")
        if self.of.broken_with:
            return _error(self.of.broken_with, "api_error", "broken")
        if self.of.busy:
            self.of.busy -= 1
            return _error(429, "rate_limit_error", "too many requests")
        if path.startswith("/v1/organizations/analytics/"):
            if self.of.refused_with:
                return _error(self.of.refused_with, "invalid_request_error", "not for this organization")
            return 200, self._analytics(path.rpartition("/")[2], params)
        return 200, self._admin(path, params)

    def _analytics(self, report: str, params: dict[str, list[str]]) -> dict[str, Any]:
        assert self.headers["anthropic-beta"] == "analytics-usage-cost-2026-08-24"
        asked, item = ANALYTICS_PARAMS[report]
        assert {*params} <= {*asked.__annotations__}
        TypeAdapter(asked).validate_python({name: told if name in LISTS else told[0] for name, told in params.items()})
        counted = [name for name in params["group_by"] if name not in ("cost_type", "token_type")]
        assert len(counted) <= 5
        span = [datetime.fromisoformat(params[name][0]) for name in ("starting_at", "ending_at")]
        assert span[1] - span[0] <= timedelta(days=31)
        rows = []
        if report == "usage":
            rows = [(day, group, {"usage": told}) for day, group, told in self.of.usage(params)]
        else:
            for day, group, cents in self.of.cost(params):
                billed = cents * (1 - self.of.discount)
                by_key = "api_key_id" in group
                requests = sum(each.key == group["api_key_id"] for each in self.of.known(params)) if by_key else None
                told = {"amount": f"{billed:f}", "list_amount": f"{cents:f}", "currency": "USD", "requests": requests}
                rows.append((day, group, {"cost": told}))
        made = [
            item.model_validate({**_bounds(day), "group": group, **told}).to_dict(mode="json")
            for day, group, told in rows
        ]
        return {**self._paged(made, params, self.of.page_rows), "data_refreshed_at": _text(self.of.refreshed_at)}

    def _admin(self, path: str, params: dict[str, list[str]]) -> dict[str, Any]:
        assert params["bucket_width"] == ["1d"]
        assert {*params} - {"page"} <= {"starting_at", "ending_at", "bucket_width", "limit", *ADMIN_LISTS[path]}
        assert {*params["group_by"]} <= ADMIN_GROUPS[path]
        days: dict[str, list[Any]] = defaultdict(list)
        if path == ADMIN_USAGE:
            for day, group, told in self.of.usage(params):
                days[day].append({**group, **{name: count for name, count in told.items() if name != "requests"}})
        else:
            for day, group, cents in self.of.cost(params):
                group = {name: value for name, value in group.items() if name != "speed"}
                days[day].append({**group, "amount": f"{cents * (1 - self.of.discount):f}", "currency": "USD"})
        buckets = [{**_bounds(day), "results": results} for day, results in sorted(days.items())]
        return self._paged(buckets, params, 2)

    def _paged(self, rows: list[Any], params: dict[str, list[str]], size: int) -> dict[str, Any]:
        first = int(params.get("page", ["0"])[0])
        more = len(rows) > first + size
        return {
            "data": rows[first : first + size],
            "has_more": more,
            "next_page": str(first + size) if more else None,
        }


def _bounds(day: str) -> dict[str, str]:
    start = datetime.fromisoformat(day).replace(tzinfo=UTC)
    return {"starting_at": start.isoformat(), "ending_at": (start + timedelta(days=1)).isoformat()}


def _text(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def _error(status: int, kind: str, message: str) -> tuple[int, Any]:
    return status, {"type": "error", "error": {"type": kind, "message": message}}
