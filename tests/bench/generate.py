"""A ledger of a million rows or more over 90 days, made through the loader's own code so that its sums are true.

python tests/bench/generate.py FILE [ROWS]
"""

from __future__ import annotations

import json
import random
import sqlite3
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from claudetrace._guard import Guard
from claudetrace._ids import utc_text, uuid7
from claudetrace._ledger._store import Store
from claudetrace._pricing._row import with_price

if TYPE_CHECKING:
    from collections.abc import Iterator

DAYS = 90
LAST_DAY = datetime(2026, 11, 21, tzinfo=UTC)
"""The first day without calls."""
BATCH = 20_000
USERS, CUSTOMERS = 2_000, 60
HAIKU, SONNET, OPUS_41, OPUS = "claude-haiku-4-5", "claude-sonnet-4-5", "claude-opus-4-1", "claude-opus-4-5"
UNKNOWN = "claude-preview-of-nobody"
"""A model that no price list has."""
# feature: share, its models with their shares, platform, mean calls of a session, input and output tokens, team
FEATURES: dict[str, tuple[int, dict[str, int], str, int, int, int, str]] = {
    "support-chat": (30, {SONNET: 70, HAIKU: 30}, "anthropic", 4, 2_500, 300, "support"),
    "agent-research": (12, {OPUS: 60, SONNET: 40}, "anthropic", 9, 9_000, 700, "research"),
    "code-review": (12, {OPUS: 45, SONNET: 40, OPUS_41: 15}, "anthropic", 3, 8_000, 900, "platform"),
    "doc-summary": (12, {HAIKU: 70, SONNET: 30}, "bedrock", 1, 6_000, 500, "content"),
    "search-rerank": (14, {HAIKU: 100}, "anthropic", 1, 1_200, 40, "search"),
    "moderation": (8, {HAIKU: 100}, "anthropic", 1, 600, 15, "trust"),
    "sql-assistant": (5, {SONNET: 100}, "vertex", 3, 3_000, 250, "data"),
    "email-draft": (4, {SONNET: 80, OPUS_41: 20}, "anthropic", 2, 1_000, 400, "content"),
    "eval-suite": (2, {SONNET: 40, OPUS: 40, HAIKU: 20}, "anthropic", 1, 4_000, 600, "research"),
    "onboarding": (1, {HAIKU: 100}, "anthropic", 2, 900, 200, "support"),
}
ERRORS = ("overloaded_error", "rate_limit_error", "api_error", "timeout_error", "invalid_request_error")
LIMITS = ("input_tokens", "output_tokens", "requests")


class Source:
    """Calls in the order of time, always the same ones."""

    def __init__(self, rows: int, seed: int = 5) -> None:
        self.rows = rows
        self.random = random.Random(seed)
        names = list(FEATURES)
        # Few users make most of the calls, and each uses one or two features.
        self._users = [f"user-{n:04d}@example.com" for n in range(USERS)]
        weights = [1 / (n + 8) for n in range(USERS)]
        self._of_feature = {
            name: self._drawn([n for n in range(USERS) if n % 10 == place or n % 7 == place], weights)
            for place, name in enumerate(names)
        }
        self._features = self.random.choices(names, [FEATURES[name][0] for name in names], k=65_536)

    def _drawn(self, users: list[int], weights: list[float]) -> list[int]:
        return self.random.choices(users, [weights[n] for n in users], k=16_384)

    def batches(self) -> Iterator[list[dict[str, Any]]]:
        """All rows, priced by the product's own code from their usages, in lists of about `BATCH`."""
        for batch in self._unpriced():
            yield [with_price(row) for row in batch]

    def _unpriced(self) -> Iterator[list[dict[str, Any]]]:
        hours = [LAST_DAY - timedelta(days=DAYS) + timedelta(hours=n) for n in range(DAYS * 24)]
        shares = [(0.35 if hour.weekday() > 4 else 1.0) * (1.2 if 8 <= hour.hour < 20 else 0.35) for hour in hours]
        whole, made, due = sum(shares), 0, 0.0
        batch: list[dict[str, Any]] = []
        for hour, share in zip(hours, shares, strict=True):
            due += self.rows * share / whole
            begin_ns = int(hour.timestamp()) * 10**9
            while made + len(batch) < int(due + 0.5):
                batch += self._session(begin_ns + int(self.random.random() * 2_700e9))
            if len(batch) >= BATCH:
                yield batch
                made, batch = made + len(batch), []
        yield batch

    def _session(self, at_ns: int) -> Iterator[dict[str, Any]]:
        draw = self.random.random
        name = self._features[int(draw() * 65_536)]
        _, models, platform, mean_calls, input_tokens, output_tokens, team = FEATURES[name]
        user = self._of_feature[name][int(draw() * 16_384)]
        model = next(iter(models)) if draw() < 0.7 else self.random.choice(list(models))
        calls = 1 + int(self.random.expovariate(1 / (mean_calls - 0.5))) if mean_calls > 1 else 1
        whose = {
            "user_id": self._users[user],
            "session_id": f"{uuid7(at_ns)}" if draw() < 0.9 else None,
            "feature": name,
            "customer": f"customer-{user % CUSTOMERS:02d}",
            "prompt": f"{name}@v{1 + int((at_ns // 86_400e9) % 90 > 40)}" if draw() < 0.8 else None,
            "tags": f'{{"team":"{team}","env":"{"staging" if draw() < 0.05 else "production"}"}}',
        }
        whose = {column: value for column, value in whose.items() if value is not None}
        for number in range(calls):
            size = int(input_tokens * (0.4 + 1.2 * draw()) * (1 + 0.35 * number))
            yield self._row(at_ns, model, platform, size, max(1, int(output_tokens * (0.2 + 1.6 * draw()))), whose)
            at_ns += int((4 + 40 * draw()) * 1e9)

    def _row(
        self, at_ns: int, model: str, platform: str, prompt: int, output: int, whose: dict[str, Any]
    ) -> dict[str, Any]:
        draw = self.random.random
        id_ = uuid7(at_ns)
        luck, streamed = draw(), draw() < 0.6
        row = {
            "id": id_,
            "call_id": id_,
            "started_at": utc_text(at_ns),
            "source": "anthropic",
            "operation": "messages.create",
            "platform": platform,
            "server_address": "api.anthropic.com",
            "streamed": int(streamed),
            "model_requested": model,
            "retries": int(luck < 0.03),
            "max_tokens": 4096,
            "message_count": 3,
            "rate_limit_headroom": round(1 - draw() ** 3, 4),
            "rate_limit": LIMITS[int(draw() * 3)],
            "request_id": f"req_{id_[:18]}",
            "usage_is_final": 1,
            "service": "app",
            "environment": "production",
            "instance": "host-1",
            **whose,
        }
        if luck > 0.988:
            error = ERRORS[int(draw() ** 2 * 5)]
            row |= {"outcome": "error", "error_type": error, "model": model, "cost_picousd": 0, "duration_ms": 900.5}
            row |= {"cost_parts": "[]", "cost_flags": "[]"}
            return row
        return row | self._answer(row, model, prompt, output, streamed)

    def _answer(self, row: dict[str, Any], model: str, prompt: int, output: int, streamed: bool) -> dict[str, Any]:
        draw = self.random.random
        first_ms = (250 + prompt * 0.03) * self.random.lognormvariate(0, 0.4)
        whole_ms = first_ms + output * 14 * self.random.lognormvariate(0, 0.25)
        cut = streamed and draw() < 0.004
        answer = {
            "outcome": "incomplete" if cut else "ok",
            "stop_reason": None if cut else self._stop(row["feature"]),
            "usage_is_final": int(not cut),
            "http_status": 200,
            "model": model,
            "duration_ms": whole_ms + (1500 if row["retries"] else 0),
            "response_ms": whole_ms,
            "time_to_first_token_ms": first_ms if streamed else None,
            "message_id": f"msg_{row['id'][:18]}",
            "usage": json.dumps(self._usage(row["feature"], prompt, output)),
        }
        if row["feature"] == "eval-suite" and draw() < 0.02:
            answer["model"] = UNKNOWN
        return {name: value for name, value in answer.items() if value is not None}

    def _usage(self, feature: str, prompt: int, output: int) -> dict[str, Any]:
        """The API's object: most prompts read the cache or write to it, and an agent's may be compacted on the way."""
        draw = self.random.random
        read = int(prompt * 0.7) if draw() < 0.75 else 0
        write = int(prompt * 0.6) if not read and draw() < 0.5 else 0
        hour = write if draw() < 0.3 else 0
        usage: dict[str, Any] = {
            "input_tokens": prompt - read - write,
            "cache_creation_input_tokens": write,
            "cache_read_input_tokens": read,
            "cache_creation": {"ephemeral_5m_input_tokens": write - hour, "ephemeral_1h_input_tokens": hour},
            "output_tokens": output,
            "service_tier": "standard",
        }
        if feature == "agent-research" and draw() < 0.1:
            executor = {name: value for name, value in usage.items() if name != "service_tier"}
            compaction = {"type": "compaction", "input_tokens": prompt, "output_tokens": 300}
            compaction |= {"cache_creation_input_tokens": 900, "cache_read_input_tokens": 0}
            usage["iterations"] = [compaction, {"type": "message", **executor}]
        return usage

    def _stop(self, feature: str) -> str:
        luck = self.random.random()
        if luck < 0.006:
            return "refusal" if luck < 0.001 else "max_tokens"
        return "tool_use" if feature == "agent-research" and luck < 0.8 else "end_turn"


def generate(db: Path, rows: int, *, quiet: bool = False) -> None:
    """Makes the ledger `db` with about `rows` rows, and tells how far it is."""
    store, began, made = Store(db, Guard()), time.monotonic(), 0
    connection = store.connection()
    # Nothing here has to survive a crash.
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA cache_size = -400000")
    for batch in Source(rows).batches():
        made += len(store.write(batch).rows)
        if not quiet:
            rate = made / (time.monotonic() - began)
            left_s = max(0, rows - made) / rate
            print(f"\r{made:>10,} of {rows:,} rows, {rate:,.0f} a second, {left_s:,.0f} s left ", end="", flush=True)
    if not quiet:
        print()
    store.close()
    with sqlite3.connect(db) as closing:
        closing.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    closing.close()


if __name__ == "__main__":
    generate(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000)
