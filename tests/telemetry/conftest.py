"""Receivers, and writers that send to them; a module that has fixtures of these names uses its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from claudetrace._guard import Guard
from claudetrace._ledger._loader import LedgerWriter
from claudetrace._telemetry._exporters import Exporters
from claudetrace._telemetry._records import RecordExporter

from ._collectors import refusing_grpc, refusing_http
from .receiver import Receiver


@pytest.fixture
def protocol() -> str:
    return "http"


@pytest.fixture
def receiver(protocol: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", {"http": "http/protobuf"}.get(protocol, protocol))
    # An exporter's own retries would go on for ten seconds; ours are what is tested.
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    with Receiver(protocol=protocol) as running:
        yield running


@pytest.fixture
def started(db: Path) -> Iterator[Callable[..., LedgerWriter]]:
    """Makes a writer that sends to a URL; it ends with the test."""
    writers: list[LedgerWriter] = []

    def start(url: str | None, **settings: Any) -> LedgerWriter:
        records = None if url is None else Exporters(lambda: RecordExporter(url), Guard())
        writers.append(LedgerWriter(db, guard=settings.pop("guard", Guard()), records=records, **settings))
        return writers[-1]

    yield start
    for writer in writers:
        writer.close()


@pytest.fixture
def refusing(protocol: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", {"http": "http/protobuf"}.get(protocol, protocol))
    return {"http": refusing_http, "grpc": refusing_grpc}[protocol]
