"""Real answers of the API: each is priced, or says why not."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from claudetrace._pricing import Terms, price_response
from claudetrace._pricing._rates import book
from claudetrace._usage import merged_usage, usage_columns

from .oracle import picousd

RECORDINGS = Path(__file__).parents[3] / "shared/recordings/recordings.jsonl"


def answer_of(body: str) -> tuple[str | None, dict[str, Any] | None, str | None]:
    """The model, the usage and the stop reason of a recorded body, JSON or server-sent events."""
    if body.lstrip().startswith("{"):
        message = json.loads(body)
        return message.get("model"), message.get("usage"), message.get("stop_reason")
    model, usage, stop = None, None, None
    for line in body.splitlines():
        event = json.loads(line[5:]) if line.startswith("data:") and line[5:].strip().startswith("{") else {}
        if event.get("type") == "message_start":
            model, usage = event["message"]["model"], event["message"]["usage"]
        if event.get("type") == "message_delta" and event.get("usage"):
            usage, stop = merged_usage(usage, event["usage"]), event["delta"].get("stop_reason")
    return model, usage, stop


@pytest.mark.skipif(not RECORDINGS.exists(), reason=f"the recordings are not there: {RECORDINGS}")
def test_every_recording_is_priced_or_says_why_not():
    """Of all recorded answers, those of listed models cost what a second computation finds; the others are flagged."""
    reasons: Counter[tuple[str, ...]] = Counter()
    for line in RECORDINGS.read_text().splitlines():
        recording = json.loads(line)
        if recording["status"] != 200:
            continue
        model, usage, stop = answer_of(recording["body"])
        found = price_response(
            usage, usage_columns(usage), model=model, stop_reason=stop, day="2026-11-20", terms=Terms()
        )
        if found.picousd is None:
            reasons[found.flags] += 1
            assert usage is None or model not in book().ids
        else:
            reasons["priced",] += 1
            assert found.picousd == picousd(usage, book().ids[model], "2026-11-20", batch=False)

    assert reasons["priced",] > 200
    assert set(reasons) <= {("priced",), ("no_usage",), ("unknown_model",)}
