"""Values that no exporter can take, and settings that make no sense, keep nothing else back and leak no secret."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anthropic
import pytest

import claudetrace
from claudetrace._demo import _answers, _wire
from claudetrace._demo._server import PlayServer
from claudetrace._ledger._loader import LedgerWriter
from claudetrace._telemetry._providers import Providers

from ._collecting import run_program
from ._sending import PATIENCE_S, PROTOCOLS
from .receiver import Receiver

Start = Callable[..., claudetrace.Instrumentation]
ASK: dict[str, Any] = {"model": "claude-sonnet-5", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
SECRET = "sesame-open"


@PROTOCOLS
def test_half_a_surrogate_pair_keeps_nothing_back(
    receiver: Receiver, start: Start, server: PlayServer, client: anthropic.Anthropic
) -> None:
    """An answer or a request with what UTF-8 cannot hold has its row, its span and its record, as have the others."""
    message = _wire.message()
    hostile = message | {
        "model": "claude-\ud800",
        "stop_reason": "\udc00",
        "usage": message["usage"] | {"service_tier": "\ud800"},
    }
    server.add(replace(_answers.answer(), body=json.dumps(hostile).encode()), _answers.answer())
    running = start(otlp=receiver.url, records="otlp", spans="own")
    client.messages.create(**ASK)
    with pytest.raises(UnicodeEncodeError):
        client.messages.create(**ASK | {"model": "claude-\ud800"})
    client.messages.create(**ASK)

    assert running.flush(PATIENCE_S)
    assert (running.health.written, len(receiver.spans), len(receiver.logs), running.health.failures) == (3, 3, 3, {})


@PROTOCOLS
@pytest.mark.parametrize("headers", [f"Authorization Bearer {SECRET}", f"Authorization=Bearer%0A{SECRET}"])
def test_no_secret_of_a_broken_header_is_told(
    headers: str,
    receiver: Receiver,
    start: Start,
    server: PlayServer,
    client: anthropic.Anthropic,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A header that cannot be sent is told, in no log and no health with what it holds."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", headers)
    caplog.set_level(logging.DEBUG)
    server.add(_answers.answer())
    running = start(otlp=receiver.url, records="otlp")
    client.messages.create(**ASK)
    running.flush(3)
    running.uninstrument()

    told = "\n".join(logging.Formatter().format(record) for record in caplog.records)
    assert SECRET not in told
    assert SECRET not in str(running.health)
    assert "header" in told.lower() or "metadata" in told.lower()


def test_no_password_of_a_url_is_told(start: Start, server: PlayServer, client: anthropic.Anthropic) -> None:
    """Errors and health show a collector's URL without its password, and a key in its query is refused."""
    server.add(_answers.answer())
    running = start(otlp=f"http://u:{SECRET}@127.0.0.1:99999")
    client.messages.create(**ASK)
    running.flush(3)
    errors = []
    for other in ("http://127.0.0.1:4318", f"ftp://u:{SECRET}@h", f"http://127.0.0.1:4318/?key={SECRET}"):
        with pytest.raises(claudetrace.ClaudetraceError) as raised:
            claudetrace.instrument(otlp=other)
        errors.append(str(raised.value))

    assert running.health.last_error is not None
    assert SECRET not in f"{running.health} {errors}"


@pytest.mark.parametrize(
    "variables",
    [
        {"OTEL_METRIC_EXPORT_INTERVAL": "inf", "OTEL_BSP_SCHEDULE_DELAY": "1e300"},
        {"OTEL_BSP_MAX_QUEUE_SIZE": "inf", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "0.5"},
        {"OTEL_BSP_MAX_QUEUE_SIZE": "nan", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "-1"},
    ],
    ids=lambda variables: " ".join(variables.values()),
)
def test_numbers_that_make_no_sense_hold_nothing_up(
    variables: dict[str, str],
    receiver: Receiver,
    start: Start,
    server: PlayServer,
    client: anthropic.Anthropic,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where a standard variable says no usable number, spans and metrics arrive all the same."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    server.add(_answers.answer())
    running = start(otlp=receiver.url)
    client.messages.create(**ASK)

    assert running.flush(PATIENCE_S)
    assert (len(receiver.spans), bool(receiver.metrics), running.health.failures) == (1, True, {})


def test_a_limit_that_opentelemetry_refuses_is_an_error_of_the_setting(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`instrument(otlp=...)` names the variable that the SDK would refuse at each call."""
    monkeypatch.setenv("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "-4")

    with pytest.raises(claudetrace.ClaudetraceError, match="OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"):
        start(otlp="http://127.0.0.1:4318")


def test_spans_beyond_the_queue_are_told(
    receiver: Receiver, start: Start, server: PlayServer, client: anthropic.Anthropic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spans that find the queue full are counted as a failure, also where the collector takes all that it is sent."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "2")
    receiver.fault = "hang"
    server.add(_answers.answer(times=None))
    running = start(otlp=receiver.url, metrics=False)
    client.messages.create(**ASK)
    client.messages.create(**ASK)
    assert receiver.wait_for(lambda r: r.requests)
    for _ in range(5):
        client.messages.create(**ASK)
    receiver.fault = None

    assert not running.flush(PATIENCE_S) or running.flush(PATIENCE_S)
    assert running.health.failures["send spans to the collector: OverflowError"] == 1


def test_starting_again_and_again_leaves_nothing_behind(
    receiver: Receiver, start: Start, server: PlayServer, client: anthropic.Anthropic
) -> None:
    """Each `instrument()` with records ends with its filters on OpenTelemetry's loggers and its threads gone."""
    server.add(_answers.answer(times=None))

    def once() -> tuple[int, int]:
        running = start(otlp=receiver.url, records="otlp")
        client.messages.create(**ASK)
        assert running.flush(PATIENCE_S)
        running.uninstrument()
        loggers = [each for each in logging.root.manager.loggerDict.values() if isinstance(each, logging.Logger)]
        ours = [thread for thread in threading.enumerate() if thread.name.startswith("claudetrace-otlp")]
        return sum(len(each.filters) for each in loggers), len(ours)

    assert once() == once() == once()


def test_uninstrument_gives_up_all_that_hangs_at_once(
    receiver: Receiver, start: Start, server: PlayServer, client: anthropic.Anthropic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records, spans and metrics share the time that a collector may take of `uninstrument()`."""
    waited: list[float] = []
    close = LedgerWriter.close, Providers.close
    monkeypatch.setattr(LedgerWriter, "close", lambda self, s: (waited.append(s), close[0](self, s)))
    monkeypatch.setattr(Providers, "close", lambda self, s: (waited.append(s), close[1](self, s)))
    receiver.fault = "hang"
    server.add(_answers.answer())
    running = start(otlp=receiver.url, records="otlp")
    client.messages.create(**ASK)
    running.uninstrument()

    of_records, of_the_rest = waited
    assert of_records + of_the_rest <= 2.0


class _Uneven(Receiver):
    """Takes no records, and the rest slowly."""

    def take(self, signal: str, path: str, headers: dict[str, str], body: Any) -> bool:
        if signal == "logs":
            self._release.wait()
            return False
        self._release.wait(0.2)
        return super().take(signal, path, headers, body)


def test_records_that_hang_at_the_end_leave_time_for_spans(tmp_path: Path, server: PlayServer) -> None:
    """A process that ends while its records are not taken still delivers spans and metrics, which wait nowhere else."""
    config = tmp_path / "claudetrace.toml"
    config.write_text('records = "otlp"\n')
    server.add(_answers.answer(times=None))
    with _Uneven() as receiver:
        ended = run_program("alone", server.url, receiver.url, tmp_path / "ledger.db", CLAUDETRACE_CONFIG=str(config))
        assert (ended.returncode, len(receiver.spans), bool(receiver.metrics)) == (0, 1, True), ended.stderr
