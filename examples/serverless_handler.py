"""A function of a serverless platform: only a temporary folder can be written, and that goes with the instance.

`flush` settles budgets and sends the rows before the answer leaves. They go to where OTEL_EXPORTER_OTLP_LOGS_ENDPOINT
says, such as a `claudetrace collect`; without it they are lines on standard output, which the platform's log keeps and
`claudetrace import` reads.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

import _offline  # noqa: F401 - plays the API where there is no key
import anthropic

import claudetrace

# Outside the handler: made once, used by each request that this instance answers.
METER = claudetrace.instrument(
    db=Path(tempfile.gettempdir()) / "claudetrace" / "ledger.db",
    records="otlp" if os.environ.get("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT") else "stdout",
    budgets=[claudetrace.Budget("user", usd=5, per="day", tags={"user": "*"}, on_exceeded="block")],
    # Instances share one budget where it is in a database.
    budget_store="env:DATABASE_URL" if os.environ.get("DATABASE_URL") else None,
)
CLIENT = anthropic.Anthropic()


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    with claudetrace.tag(feature="summary", user=event["user"]) as scope:
        answer = CLIENT.messages.create(
            model="claude-haiku-5-5",
            max_tokens=200,
            messages=[{"role": "user", "content": event["text"]}],
        )
    if not claudetrace.flush(timeout_s=2.0):
        print("Some calls are still on this instance's disk; the next request sends them.")
    return {"text": answer.content[0].text, "cost_usd": f"{scope.cost_usd:f}"}


if __name__ == "__main__":
    for user in ("ada", "ben"):
        print(handler({"user": user, "text": "What does a meter do?"}, None))
    for spend in claudetrace.Ledger(METER.settings.db).spend(by="user", since="1h"):
        print(f"{spend.key}: {spend.calls} calls, ${spend.cost_usd:.6f}")
    METER.uninstrument()
