"""Spans sent to a real Phoenix, read back over its API: model, tokens, cost, session and user are the ledger's.

Runs in an environment of its own with `arize-phoenix`; see `run.py`. It prices models by itself in its own pages; what
claudetrace has priced is among a span's attributes.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import claudetrace
from claudetrace._demo import _play

STARTS_WITHIN_S = 120
ARRIVES_WITHIN_S = 60
PROJECT = "/v1/projects/default"
INPUT = ("input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens")


def main() -> int:
    """Compares each span of the demo's calls; 1 if one differs."""
    with TemporaryDirectory() as folder, phoenix(Path(folder)) as url:
        with claudetrace.instrument(db=Path(folder) / "ledger.db", otlp=url, metrics=False, force=True):
            _play.play()
            if not claudetrace.flush(timeout_s=30):
                print("the spans could not be delivered")
                return 1
        with claudetrace.Ledger(Path(folder) / "ledger.db") as ledger:
            calls = [call for call in ledger.calls(limit=1000) if call.span_id and call.batch_id is None]
        spans = arrived(url, {call.span_id for call in calls if call.span_id})
        wrong = sum(differs(call, spans.get(call.span_id or "")) for call in calls)
        wrong += sessions_differ(url, calls)
    print(f"{len(calls)} calls, {len(spans)} spans in Phoenix, {wrong} differ")
    return int(wrong > 0 or len(calls) < len(_play.STEPS))


@contextmanager
def phoenix(folder: Path) -> Iterator[str]:
    """A Phoenix of this environment on loopback, with nothing in it."""
    http, grpc = free_port(), free_port()
    environment = {
        **os.environ,
        "PHOENIX_WORKING_DIR": str(folder),
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(http),
        "PHOENIX_GRPC_PORT": str(grpc),
        "PHOENIX_TELEMETRY_ENABLED": "false",
    }
    command = [str(Path(sys.executable).parent / "phoenix"), "serve"]
    said = folder / "phoenix.log"
    with said.open("w") as log, subprocess.Popen(command, env=environment, stdout=log, stderr=log) as process:
        try:
            url = f"http://127.0.0.1:{http}"
            until = time.monotonic() + STARTS_WITHIN_S
            while not answers(f"{url}/healthz"):
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"Phoenix did not start: {said.read_text()[-2000:]}")
                time.sleep(0.2)
            yield url
        finally:
            process.terminate()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(url: str) -> bool:
    try:
        return bool(fetch(url).status == 200)
    except OSError:
        return False


def fetch(url: str) -> Any:
    # A proxy of the environment would send loopback's requests out.
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10)


def read(url: str) -> Any:
    return json.loads(fetch(url).read())["data"]


def arrived(url: str, wanted: set[str]) -> dict[str, dict[str, Any]]:
    """The spans by id, once all that are `wanted` are there, or what there is when the time is up."""
    until = time.monotonic() + ARRIVES_WITHIN_S
    while True:
        spans = {span["context"]["span_id"]: span for span in read(f"{url}{PROJECT}/spans?limit=1000")}
        if wanted <= set(spans) or time.monotonic() > until:
            return spans
        time.sleep(0.2)


def differs(call: claudetrace.Call, span: dict[str, Any] | None) -> bool:
    """Whether Phoenix has another idea of the call than the ledger. Says which."""
    if span is None:
        print(f"no span {call.span_id} of {call.operation}")
        return True
    told = span["attributes"]
    found = {
        "model": told.get("llm.model_name"),
        "prompt": told.get("llm.token_count.prompt"),
        "completion": told.get("llm.token_count.completion"),
        "cache_read": told.get("llm.token_count.prompt_details.cache_read"),
        "cost": told.get("llm.cost.total"),
        "session": told.get("session.id"),
        "user": told.get("user.id"),
        "failed": span["status_code"] == "ERROR",
        "kind": span["span_kind"],
    }
    expected = {
        "model": call.model or call.model_requested,
        "prompt": prompt_tokens(call),
        "completion": call.output_tokens,
        "cache_read": call.cache_read_tokens,
        "cost": None if call.input_tokens is None or call.cost_usd is None else float(call.cost_usd),
        "session": call.session_id,
        "user": call.user_id,
        "failed": call.outcome == "error",
        "kind": "LLM" if call.operation == "messages.create" else found["kind"],
    }
    if found != expected:
        print(f"{span['name']} {call.span_id}:\n  Phoenix {found}\n  ledger  {expected}")
    return found != expected


def prompt_tokens(call: claudetrace.Call) -> int | None:
    counted = [count for name in INPUT if (count := getattr(call, name)) is not None]
    return sum(counted) if counted else None


def sessions_differ(url: str, calls: list[claudetrace.Call]) -> bool:
    """Whether Phoenix adds up a session's tokens otherwise than the ledger."""
    expected: Counter[str] = Counter()
    for call in calls:
        if call.session_id is not None:
            expected[call.session_id] += (prompt_tokens(call) or 0) + (call.output_tokens or 0)
    found = {each["session_id"]: each["token_count_total"] for each in read(f"{url}{PROJECT}/sessions?limit=1000")}
    if found != dict(expected):
        print(f"sessions:\n  Phoenix {found}\n  ledger  {dict(expected)}")
    return found != dict(expected)


if __name__ == "__main__":
    sys.exit(main())
