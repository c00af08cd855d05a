"""Made-up calls of a help desk over ninety days, the same in every demo."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from random import Random
from typing import TYPE_CHECKING, Any

from claudetrace._demo._wire import usage
from claudetrace._ids import utc_text, uuid7

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from claudetrace._call import Row

DAYS = 90
SEED = 5
SESSIONS_A_DAY = 34
WEEKEND = 0.3
GROWTH = 0.9
"""How much the number of sessions grows from the first day to the last."""
CACHED_SINCE_DAYS = 38
"""How many days ago the desk began to cache."""
FAULTY_DAYS_AGO = (23, 24)
"""The days on which the API was overloaded."""
UNPRICED_DAYS_AGO = range(8, 11)
HOURS = (1, 1, 1, 1, 1, 2, 4, 8, 14, 18, 19, 18, 15, 17, 19, 18, 16, 12, 8, 6, 4, 3, 2, 1)
CUSTOMERS = {"acme": 9, "globex": 6, "initech": 4, "umbrella": 3, "stark": 2, "wayne": 1, "hooli": 1}
MODELS = {
    "sonnet": ("claude-sonnet-5-5", "claude-sonnet-5", 26),
    "haiku": ("claude-haiku-5-5", "claude-haiku-4-5", 19),
    "opus": ("claude-opus-5-5", "claude-opus-5", 47),
}
"""Each kind's model, its predecessor, and how many days ago the desk switched."""
MS_A_TOKEN = {"sonnet": 13.0, "haiku": 6.0, "opus": 21.0}
FIRST_MS = {"sonnet": 900.0, "haiku": 420.0, "opus": 1500.0}
ERRORS = (("overloaded_error", 529), ("rate_limit_error", 429), ("api_error", 500), ("timeout_error", None))
LIMITS = {"sonnet": 0.35, "haiku": 0.2, "opus": 0.45}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A use of Claude: how often, with which models, and the shape of its calls."""

    weight: int
    models: dict[str, int]
    turns: tuple[int, int]
    input_tokens: tuple[int, int]
    output_tokens: tuple[int, int]
    system_tokens: int = 0
    prompt: str | None = None
    tools: bool = False
    streamed: bool = False
    max_tokens: int = 4096
    platform: str = "anthropic"
    rereads: bool = True
    refused: float = 0.002


JOBS = {
    "chat": Job(
        weight=34, models={"sonnet": 8, "haiku": 3}, turns=(1, 7), input_tokens=(220, 1900), output_tokens=(60, 700),
        system_tokens=9_000, prompt="support@v12", streamed=True,
    ),
    "manual": Job(
        weight=14, models={"sonnet": 1}, turns=(1, 4), input_tokens=(60, 400), output_tokens=(80, 420),
        system_tokens=18_240, prompt="manual@v7", streamed=True,
    ),
    "agent": Job(
        weight=9, models={"opus": 1}, turns=(3, 16), input_tokens=(600, 4200), output_tokens=(90, 1400),
        system_tokens=6_000, prompt="refund@v3", tools=True,
    ),
    "summaries": Job(
        weight=12, models={"haiku": 3, "sonnet": 1}, turns=(1, 1), input_tokens=(3000, 26000),
        output_tokens=(150, 1100), prompt="summary@v2", max_tokens=1024,
    ),
    "sorting": Job(weight=18, models={"haiku": 1}, turns=(1, 2), input_tokens=(250, 900), output_tokens=(4, 14)),
    "translate": Job(
        weight=8, models={"sonnet": 1}, turns=(1, 3), input_tokens=(400, 2600), output_tokens=(300, 2200),
        system_tokens=2_500, prompt="translate@v1", platform="bedrock", rereads=False,
    ),
    "moderation": Job(
        weight=5, models={"haiku": 1}, turns=(1, 1), input_tokens=(120, 700), output_tokens=(3, 12), refused=0.06
    ),
}  # fmt: skip


def history(now: datetime, service: str, days: int = DAYS) -> Iterator[Row]:
    """The calls of the `days` before `now`, oldest first, without their prices."""
    random, sessions = Random(SEED), count(1)  # noqa: S311 - made up, not secret
    until = utc_text(int(now.timestamp() * 1e9))
    for days_ago in range(days, -1, -1):
        midnight = (now - timedelta(days=days_ago)).replace(hour=0, minute=0, second=0, microsecond=0)
        many = SESSIONS_A_DAY * (1 + GROWTH * (days - days_ago) / max(days, 1)) * random.uniform(0.85, 1.15)
        for _ in range(round(many * (WEEKEND if midnight.weekday() >= 5 else 1))):
            (hour,) = random.choices(range(24), HOURS)
            start = midnight + timedelta(hours=hour, seconds=random.uniform(0, 3600))
            for row in _session(random, next(sessions), start, days_ago):
                if row["started_at"] < until:
                    yield {**row, "service": service, "environment": "history"}


def _session(random: Random, number: int, at: datetime, days_ago: int) -> Iterator[Row]:
    (feature,) = random.choices(list(JOBS), [job.weight for job in JOBS.values()])
    job = JOBS[feature]
    (kind,) = random.choices(list(job.models), list(job.models.values()))
    (customer,) = random.choices(list(CUSTOMERS), list(CUSTOMERS.values()))
    turns = random.randint(*job.turns)
    if job.tools and random.random() < 0.02:
        turns = 44  # an agent that never leaves its loop
    said = 0
    whose = {
        "feature": feature,
        "customer": customer,
        "user_id": f"{customer}-{int(random.triangular(1, 14, 1)):02d}@example.com",
        "session_id": f"{feature}-{number:05d}",
        "tags": json.dumps({"team": "care" if feature in ("chat", "manual") else "platform"}),
        **({"prompt": job.prompt} if job.prompt else {}),
    }
    for turn in range(turns):
        call = _Call(random, job, kind, at, days_ago, turn, turns, said)
        row = {**call.row(), **whose}
        yield row
        said += call.input_tokens + call.output_tokens
        at += timedelta(milliseconds=row["duration_ms"], seconds=random.uniform(0.4, 4 if job.tools else 95))


@dataclass(slots=True)
class _Call:
    """One call of a session: `turn` of `turns`, after `said` tokens of conversation."""

    random: Random
    job: Job
    kind: str
    at: datetime
    days_ago: int
    turn: int
    turns: int
    said: int
    input_tokens: int = 0
    output_tokens: int = 0

    def __post_init__(self) -> None:
        self.input_tokens = int(self.random.triangular(*self.job.input_tokens, self.job.input_tokens[0]))
        self.output_tokens = int(self.random.triangular(*self.job.output_tokens, self.job.output_tokens[0]))

    def row(self) -> Row:
        new, old, changed = MODELS[self.kind]
        model = new if self.days_ago < changed else old
        if self.days_ago in UNPRICED_DAYS_AGO and self.random.random() < 0.015:
            model = "claude-lab-preview"
        at_ns = int(self.at.timestamp() * 1e9)
        id_ = uuid7(at_ns)
        row: dict[str, Any] = {
            "id": id_,
            "call_id": id_,
            "started_at": utc_text(at_ns),
            "source": "anthropic",
            "operation": "messages.create",
            "platform": self.job.platform,
            "server_address": "127.0.0.1",
            "streamed": int(self.job.streamed),
            "model_requested": model,
            "max_tokens": self.job.max_tokens,
            "message_count": 2 * self.turn + 1,
            "image_count": 0,
            "document_count": 0,
            "request_bytes": 4 * (self.input_tokens + self.said + self.job.system_tokens) + 300,
            "request_id": f"req_demo_{id_[-12:]}",
            "retries": 0,
            "instance": "demo",
        }
        if self.job.tools:
            row["tools_offered"] = 4
        fails = self.random.random() < (0.16 if self.days_ago in FAULTY_DAYS_AGO else 0.007)
        return row | (self._failed() if fails else self._answered(model))

    def _failed(self) -> Row:
        error_type, status = self.random.choices(ERRORS, (6, 3, 1, 1))[0]
        failed: dict[str, Any] = {
            "outcome": "error",
            "error_type": error_type,
            "retries": 2,
            "duration_ms": self.random.uniform(1500, 7000) if status else 60_000.0,
            "usage_is_final": 1 if status else 0,
            "cost_flags": "[]" if status else '["no_usage"]',
        }
        return failed | ({"http_status": status, "cost_picousd": 0, "cost_parts": "[]"} if status else {})

    def _answered(self, model: str) -> Row:
        first_ms = FIRST_MS[self.kind] * self.random.lognormvariate(0, 0.45) + self.input_tokens * 0.03
        stop_reason = self._stop_reason()
        broken = self.job.streamed and self.random.random() < 0.006
        if stop_reason == "max_tokens":
            self.output_tokens = self.job.max_tokens
        if broken:
            self.output_tokens //= 3
        response_ms = first_ms + self.output_tokens * MS_A_TOKEN[self.kind] * self.random.uniform(0.85, 1.25)
        retries = int(self.random.random() < (0.3 if self.days_ago in FAULTY_DAYS_AGO else 0.015))
        answered: dict[str, Any] = {
            "model": model,
            "outcome": self.random.choice(("cancelled", "incomplete")) if broken else "ok",
            "http_status": 200,
            "message_id": f"msg_demo_{self.random.getrandbits(48):012x}",
            "retries": retries,
            "response_ms": response_ms,
            "duration_ms": response_ms + retries * self.random.uniform(500, 4000),
            "tool_calls": int(stop_reason == "tool_use") * self.random.choice((1, 1, 1, 2)),
            "rate_limit_headroom": round(max(0.02, 1 - LIMITS[self.kind] * self.random.uniform(0.5, 1.5)), 3),
            "rate_limit": self.random.choice(("input-tokens", "output-tokens")),
            "usage": json.dumps(self._usage()),
            "usage_is_final": int(not broken),
        }
        if not broken:
            answered["stop_reason"] = stop_reason
        if self.job.streamed:
            answered["time_to_first_token_ms"] = first_ms
        return answered

    def _stop_reason(self) -> str:
        if self.job.tools and self.turn < self.turns - 1:
            return "tool_use"
        if self.job.max_tokens < 2000 and self.random.random() < 0.05:
            return "max_tokens"
        return "refusal" if self.random.random() < self.job.refused else "end_turn"

    def _usage(self) -> dict[str, Any]:
        """The usage object. From `CACHED_SINCE_DAYS` on, the desk caches what stays the same."""
        fixed = self.job.system_tokens + (self.said if self.job.tools else 0)
        cached = fixed > 2000 and self.days_ago < CACHED_SINCE_DAYS
        hit = cached and self.job.rereads and (self.turn > 0 or self.random.random() < 0.55)
        written = fixed if cached and not hit else 0
        more: dict[str, Any] = (
            {"output_tokens_details": {"thinking_tokens": self.output_tokens // 3}} if self.kind == "opus" else {}
        )
        return usage(
            self.input_tokens + (0 if cached else fixed) + (0 if self.job.tools else self.said),
            self.output_tokens,
            cache_read=fixed if hit else 0,
            write_5m=written,
            **more,
        )
