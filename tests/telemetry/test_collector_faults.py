"""A collector that is down, slow, refusing or hanging: the caller, the ledger and the process's end do not mind."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anthropic
import pytest

import claudetrace
from claudetrace._demo import _answers as answers
from claudetrace._demo._server import PlayServer

from ._collecting import PROTOCOLS, run_program
from .receiver import Fault, Receiver

FAULTS: tuple[Fault, ...] = ("hang", "slow", "503", "refuse")
ASK: dict[str, Any] = {"model": "claude-sonnet-5", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
PATIENT = {"OTEL_EXPORTER_OTLP_TIMEOUT": "600"}
"""An exporter that would try for ten minutes, if it were let."""


@pytest.fixture(params=PROTOCOLS)
def receiver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", PROTOCOLS[request.param])
    with Receiver(request.param) as running:
        yield running


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_no_fault_holds_up_the_end_of_a_process(protocol: Any, tmp_path: Path, server: PlayServer) -> None:
    """A process ends though the collector does not answer; what was not sent is told once, and in the ledger."""
    server.add(answers.answer(times=None))

    def ended(fault: Fault) -> tuple[int, int, int, int]:
        db = tmp_path / fault / "ledger.db"
        with Receiver(protocol, fault=fault) as broken:
            # Killed after this, with a failure: without a bound it would take minutes, or, where it is "slow", send.
            told = run_program(
                "alone",
                server.url,
                broken.url,
                db,
                timeout_s=60,
                OTEL_EXPORTER_OTLP_PROTOCOL=PROTOCOLS[protocol],
                **PATIENT,
            )
            arrived = len(broken.spans)
        with claudetrace.Ledger(db) as ledger:
            return told.returncode, len(ledger.calls()), arrived, told.stderr.count("could not send spans")

    with ThreadPoolExecutor(len(FAULTS)) as pool:
        assert dict(zip(FAULTS, pool.map(ended, FAULTS), strict=True)) == dict.fromkeys(FAULTS, (0, 1, 0, 1))


def test_what_waits_arrives_when_the_collector_is_back(
    receiver: Receiver,
    start: Callable[..., claudetrace.Instrumentation],
    server: PlayServer,
    client: anthropic.Anthropic,
) -> None:
    """Calls made while the collector refuses connections are sent again until it answers, once each."""
    server.add(answers.answer(times=None))
    receiver.fault = "refuse"
    start(otlp=receiver.url)
    for _ in range(3):
        client.messages.create(**ASK)
    assert not claudetrace.flush(timeout_s=0.2)

    receiver.fault = None

    assert claudetrace.flush(timeout_s=60)
    assert len(receiver.spans) == 3


def test_a_collector_that_is_away_is_told_once(
    receiver: Receiver,
    start: Callable[..., claudetrace.Instrumentation],
    server: PlayServer,
    client: anthropic.Anthropic,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However often a delivery fails, the log has one line for spans and one for metrics; health has the count."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.2")
    caplog.set_level(logging.INFO)
    server.add(answers.answer(times=None))
    receiver.fault = "503"
    running = start(otlp=receiver.url)
    for _ in range(3):
        client.messages.create(**ASK)
        assert not claudetrace.flush(timeout_s=30)

    failures = {name: count for name, count in running.health.failures.items() if "to the collector" in name}
    assert failures == {
        "send spans to the collector: ExportError": 3,
        "send metrics to the collector: ExportError": 3,
    }
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert sorted(line.split(":")[0] for line in told) == [
        "claudetrace could not send metrics to the collector",
        "claudetrace could not send spans to the collector",
    ]
