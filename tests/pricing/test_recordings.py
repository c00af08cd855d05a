"""What the ledger says of real exchanges, against what their bodies say."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from claudetrace._pricing._engine import price_response
from claudetrace._pricing._rates import book
from claudetrace._pricing._terms import Terms
from claudetrace._usage import usage_columns

from ._replay import RECORDINGS, Recording, recordings, replay
from .oracle import picousd

if TYPE_CHECKING:
    from collections.abc import Iterator

    import claudetrace

pytestmark = pytest.mark.skipif(not RECORDINGS.exists(), reason=f"the recordings are not at {RECORDINGS}")

ALL = recordings()
COUNTS = (
    *("input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens"),
    *("output_tokens", "thinking_tokens", "web_search_requests"),
)
Rows = dict[str, list["claudetrace.Call"]]


@pytest.fixture(scope="module", params=["sync", "async"])
def rows(request: Any, tmp_path_factory: Any) -> Rows:
    """The rows of every recording's call."""
    db = tmp_path_factory.mktemp("recordings") / "ledger.db"
    return replay(db, is_async=request.param == "async")


def told(recording: Recording) -> dict[str, Any]:
    """What the body says, read without any of claudetrace: the message with its last usage."""
    if not recording.is_stream:
        return dict(json.loads(recording.body))
    message: dict[str, Any] = {}
    for event in events_of(recording.body):
        if event["type"] == "message_start":
            message = event["message"]
        elif event["type"] == "message_delta":
            message |= {name: value for name, value in event["delta"].items() if name == "stop_reason"}
            message["usage"] |= {name: value for name, value in event["usage"].items() if value is not None}
    return message


def events_of(body: str) -> Iterator[dict[str, Any]]:
    """The data of each server-sent event."""
    for line in body.splitlines():
        if line.startswith("data:"):
            yield json.loads(line.removeprefix("data:"))


def counts_of(usage: dict[str, Any]) -> dict[str, Any]:
    """The ledger's counts of a usage, by the contract's words."""
    split = usage.get("cache_creation") or {}
    written_1h = split.get("ephemeral_1h_input_tokens")
    written_5m = split.get("ephemeral_5m_input_tokens")
    total = usage.get("cache_creation_input_tokens")
    if total is not None:
        # Five minutes is the default: what the split does not say is written for that long.
        written_5m = max(written_5m or 0, total - (written_1h or 0))
    return {
        "input_tokens": usage.get("input_tokens"),
        "cache_read_tokens": usage.get("cache_read_input_tokens"),
        "cache_write_5m_tokens": written_5m,
        "cache_write_1h_tokens": written_1h,
        "output_tokens": usage.get("output_tokens"),
        "thinking_tokens": (usage.get("output_tokens_details") or {}).get("thinking_tokens"),
        "web_search_requests": (usage.get("server_tool_use") or {}).get("web_search_requests"),
    }


def of(*operations: str | None, ok: bool = True) -> list[Any]:
    """The recordings of these operations that were answered, or refused."""
    return [
        pytest.param(recording, id=recording.id)
        for recording in ALL
        if recording.operation in operations and (recording.status == 200) is ok
    ]


def test_every_recording_is_played() -> None:
    """All 257 recordings are covered by the tests of this file, each once."""
    covered = [
        *of("messages.create"),
        *of("messages.count_tokens"),
        *of("completions.create"),
        *of("messages.create", "messages.count_tokens", "completions.create", ok=False),
        *of(None),
    ]
    assert sorted(case.id for case in covered) == sorted(recording.id for recording in ALL)
    assert len(covered) == 257


@pytest.mark.parametrize("recording", of("messages.create"))
def test_an_answered_message_leaves_one_row_with_its_usage(recording: Recording, rows: Rows) -> None:
    """Each 200 of the Messages API gives exactly one row, whose counts equal the recorded usage."""
    message = told(recording)
    (row,) = rows[recording.id]

    assert {name: getattr(row, name) for name in COUNTS} == counts_of(message["usage"])
    assert (row.usage, row.usage_is_final) == (message["usage"], True)
    assert (row.operation, row.outcome, row.error_type, row.http_status) == ("messages.create", "ok", None, 200)
    assert (row.message_id, row.stop_reason) == (message["id"], message["stop_reason"])
    assert (row.streamed, row.retries) == (recording.is_stream, 0)
    assert row.platform == ("bedrock" if recording.is_bedrock else "anthropic")
    served = [entry for entry in message["usage"].get("iterations") or () if entry["type"] == "fallback_message"]
    assert row.model == (served[-1]["model"] if served else message["model"])


@pytest.mark.parametrize("recording", of("messages.create", "messages.count_tokens", "completions.create", ok=False))
def test_a_refused_call_leaves_one_row_with_its_error(recording: Recording, rows: Rows) -> None:
    """Each error gives exactly one row with the API's type, at no cost."""
    (row,) = rows[recording.id]

    error = json.loads(recording.body)["error"]
    assert (row.outcome, row.error_type, row.http_status) == ("error", error["type"], recording.status)
    assert (row.operation, row.cost_picousd, row.cost_flags, row.usage) == (recording.operation, 0, (), None)


@pytest.mark.parametrize("recording", of("messages.count_tokens"))
def test_a_count_of_tokens_leaves_a_free_row(recording: Recording, rows: Rows) -> None:
    """Counting gives one row: free, with the count in `usage` alone."""
    (row,) = rows[recording.id]

    assert {name: getattr(row, name) for name in COUNTS} == dict.fromkeys(COUNTS)
    assert (row.operation, row.outcome, row.cost_picousd) == ("messages.count_tokens", "ok", 0)
    assert row.usage == json.loads(recording.body)


@pytest.mark.parametrize("recording", of("completions.create"))
def test_a_legacy_completion_leaves_a_row_without_counts(recording: Recording, rows: Rows) -> None:
    """A legacy completion gives one row; the API says nothing of its usage, and so does the row."""
    (row,) = rows[recording.id]

    last = list(events_of(recording.body))[-1] if recording.is_stream else json.loads(recording.body)
    assert {name: getattr(row, name) for name in COUNTS} == dict.fromkeys(COUNTS)
    assert (row.operation, row.outcome, row.streamed) == ("completions.create", "ok", recording.is_stream)
    assert (row.usage, row.cost_picousd, row.cost_flags) == (None, None, ("no_usage",))
    assert (row.model, row.stop_reason) == (last.get("model"), last["stop_reason"])


@pytest.mark.parametrize("recording", of(None))
def test_what_no_model_answers_leaves_no_row(recording: Recording, rows: Rows) -> None:
    """Files give no row."""
    assert recording.id not in rows


def test_every_recording_is_priced_or_says_why_not() -> None:
    """Of all recorded answers, those of listed models cost what a second computation finds; the others are flagged."""
    reasons: Counter[tuple[str, ...]] = Counter()
    for recording in (each for each in ALL if each.status == 200):
        message = told(recording)
        model, usage, stop = (message.get(name) for name in ("model", "usage", "stop_reason"))
        found = price_response(
            usage, usage_columns(usage), model=model, stop_reason=stop, day="2026-11-20", terms=Terms()
        )
        if found.picousd is None:
            reasons[found.flags] += 1
            assert usage is None or model not in book().ids
        else:
            reasons["priced",] += 1
            assert usage is not None
            assert found.picousd == picousd(usage, book().ids[str(model)], "2026-11-20", batch=False)

    assert reasons["priced",] > 200
    assert set(reasons) <= {("priced",), ("no_usage",), ("unknown_model",)}
