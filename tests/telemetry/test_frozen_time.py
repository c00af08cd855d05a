"""Where a test suite has frozen time, a wait of ours ends all the same."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import anthropic
import freezegun
import pytest

import claudetrace
from claudetrace._demo import _answers as answers
from claudetrace._demo._server import PlayServer

ASK: dict[str, Any] = {"model": "claude-sonnet-5", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}


def test_flush_keeps_its_time_where_time_is_frozen(
    start: Callable[..., object], server: PlayServer, client: anthropic.Anthropic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three deliveries that a dead collector holds up take `timeout_s` together, however still the clock stands."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "600")
    server.add(answers.answer())
    with socket.create_server(("127.0.0.1", 0)) as dead, freezegun.freeze_time("2026-11-28 12:00:00"):
        start(otlp=f"http://127.0.0.1:{dead.getsockname()[1]}", records="otlp")
        client.messages.create(**ASK)
        before_s = time.clock_gettime(time.CLOCK_MONOTONIC)
        delivered = claudetrace.flush(timeout_s=1.5)
        took_s = time.clock_gettime(time.CLOCK_MONOTONIC) - before_s

    assert not delivered
    assert took_s < 2.8


def test_the_clock_is_real_where_time_was_frozen_before_the_import() -> None:
    """A program that is imported while time stands still has a clock that goes on."""
    told = (
        "import freezegun\n"
        "with freezegun.freeze_time('2026-11-28'):\n"
        "    from claudetrace._clock import monotonic\n"
        "    before = monotonic()\n"
        "    import threading; threading.Event().wait(0.01)\n"
        "    print(monotonic() > before)"
    )
    ran = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True, timeout=60)

    assert ran.stdout.strip() == "True"
