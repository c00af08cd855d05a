"""docs/telemetry.md and what really leaves say the same."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anthropic
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import claudetrace
from claudetrace import _call
from claudetrace._demo import _answers, _play, _wire
from claudetrace._demo._server import PlayServer
from claudetrace._telemetry import _attributes, _spans

from .receiver import Metric, Receiver

DOCUMENT = Path(__file__).parents[2] / "docs" / "telemetry.md"
PREFIXES = ("gen_ai.", "claudetrace.", "llm.", "operation.", "http.", "server.", "error.", "user.", "session.", "tag.")
TAG = "claudetrace.tag.<key>"
KINDS = {("sum", True): "counter", ("sum", False): "up-down counter"}
RICH: dict[str, Any] = {
    "model": "claude-sonnet-5",
    "max_tokens": 9,
    "messages": [{"role": "user", "content": "hi"}],
    "stop_sequences": ["END"],
    # What not every supported SDK has a parameter for.
    "extra_body": {
        "temperature": 0.2,
        "top_p": 0.9,
        "top_k": 40,
        "output_config": {"effort": "high", "format": {"type": "json_schema", "schema": {}}},
    },
}
COUNTS = _wire.usage(
    3,
    9,
    cache_read=2,
    write_5m=1,
    speed="fast",
    inference_geo="us",
    server_tool_use={"web_search_requests": 2},
    output_tokens_details={"thinking_tokens": 4},
)


@dataclass(frozen=True)
class Left:
    """What left over OTLP."""

    spans: set[str]
    """The names of the attributes; a tag's has its key left out."""
    records: set[str]
    metrics: dict[str, Metric]

    def of_metrics(self) -> set[str]:
        return {name for metric in self.metrics.values() for point in metric.points for name in point.attributes}


def left(folder: Path) -> Left:
    """What leaves when the demo's calls are made, and one with all that a request and an answer can have."""
    db = folder / "ledger.db"
    budgets = [
        claudetrace.Budget("customer", usd=10, tags={"customer": "*"}),
        claudetrace.Budget("stopped", max_calls=1, tags={"feature": "stopped"}, on_exceeded="block"),
    ]
    settings: dict[str, Any] = {"budgets": budgets}
    with (
        Receiver() as receiver,
        claudetrace.instrument(db=db, otlp=receiver.url, records="otlp", force=True, **settings),
    ):
        make_calls()
        with claudetrace.tag(feature="stopped"):
            make_rich_call()
            with pytest.raises(claudetrace.BudgetExceeded):
                make_rich_call()
        assert claudetrace.flush(timeout_s=30)
        with claudetrace.Ledger(db) as ledger:
            rows = len(ledger.calls(limit=1000))
        assert receiver.wait_for(lambda it: len(it.logs) >= rows, 30)
    spans = {name for span in receiver.spans for name in span.attributes}
    tags = {name for name in spans if name.startswith("claudetrace.tag.")}
    return Left(
        spans=spans - tags | ({TAG} if tags else set()),
        records={name for log in receiver.logs for name in log.attributes},
        metrics={metric.name: metric for metric in receiver.metrics},
    )


def make_calls() -> None:
    _play.play()
    make_rich_call()


def make_rich_call() -> None:
    with PlayServer() as server, anthropic.Anthropic(api_key="k", base_url=server.url) as client:
        server.add(_answers.stream(_wire.message("Hi.", COUNTS, model="claude-sonnet-5")))
        list(client.messages.create(**RICH, stream=True))


@pytest.fixture(scope="module")
def now(tmp_path_factory: pytest.TempPathFactory) -> Left:
    return left(tmp_path_factory.mktemp("now"))


@pytest.fixture(scope="module")
def to_come(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Left]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", "gen_ai_latest_experimental")
        yield left(tmp_path_factory.mktemp("to_come"))


def documented(*first: str) -> dict[str, list[str]]:
    """The rows of all tables whose head begins like this, by what stands first in them."""
    rows: dict[str, list[str]] = {}
    cells: list[str] = []
    for line in DOCUMENT.read_text().splitlines():
        if not line.startswith("|"):
            cells = []
        elif not cells:
            cells = [cell.strip() for cell in line.strip("|").split("|")]
        elif cells[: len(first)] == list(first) and not line.startswith("|---"):
            name, *rest = [cell.strip() for cell in line.strip("|").split("|")]
            assert name not in rows, f"{name} stands there twice"
            rows[name.strip("`")] = [cell.strip("`") for cell in rest]
    return rows


def in_code() -> set[str]:
    """The names of attributes that the code of spans has, whatever it takes for them to be set."""
    names: set[str] = set()
    for module in (_attributes, _spans):
        for node in ast.walk(ast.parse(Path(str(module.__file__)).read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith(PREFIXES):
                names.add(TAG if node.value == "claudetrace.tag." else node.value)
    return names - {_attributes.EVENT, "claudetrace.budget_exceeded"}


def test_every_attribute_of_a_span_is_documented(now: Left) -> None:
    """The table of attributes has those of the code and no others, and each of them really leaves."""
    names = set(documented("attribute", "unit"))

    assert names | set(documented("attribute of the event")) == in_code()
    assert now.spans == names


def test_what_is_set_on_joined_spans_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The column *joined* has what claudetrace alone puts on the SDK's own spans."""
    if not hasattr(anthropic._base_client, "start_api_call_span"):
        pytest.skip("this SDK makes no spans of its own")
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)

    def made() -> set[str]:
        exporter.clear()
        make_calls()
        spans = [span for span in exporter.get_finished_spans() if not str(span.name).startswith("chat ")]
        names = {name for span in spans for name in span.attributes or {}}
        return {TAG if name.startswith("claudetrace.tag.") else name for name in names}

    by_the_sdk = made()
    with claudetrace.instrument(db=tmp_path / "ledger.db", force=True):
        joined = made()

    told = {name for name, (_, _, yes, *_) in documented("attribute", "unit").items() if yes == "yes"}
    # The newest SDK sets one of them itself.
    assert joined - by_the_sdk == told - by_the_sdk
    assert len(told & by_the_sdk) <= 1


def test_every_metric_is_documented(now: Left, to_come: Left) -> None:
    """The tables of metrics have each that leaves, now or with the names to come, with its kind and unit."""
    metrics = {**now.metrics, **to_come.metrics}
    sent = {
        name: (KINDS.get((metric.kind, metric.monotonic), metric.kind), metric.unit) for name, metric in metrics.items()
    }

    assert {name: (kind, unit) for name, (kind, unit, *_) in documented("metric").items()} == sent


def test_every_attribute_of_a_metric_is_documented(now: Left, to_come: Left) -> None:
    """The table of the metrics' attributes has those that leave and no others."""
    assert set(documented("attribute of metrics")) == now.of_metrics() | to_come.of_metrics()


def test_every_field_of_a_record_is_documented(now: Left) -> None:
    """The table of fields has the ledger's columns and no others, and nothing else leaves."""
    fields = set(documented("field"))

    assert fields == {f"claudetrace.{name}" for name in _call.CALL_FIELDS}
    assert now.records <= fields


def test_standard_names_are_told_apart(tmp_path: Path) -> None:
    """What the table says of `attributes="standard"` is what it leaves out."""
    with Receiver() as receiver:
        settings: dict[str, Any] = {"db": tmp_path / "ledger.db", "otlp": receiver.url, "metrics": False}
        with claudetrace.instrument(**settings, attributes="standard", force=True):
            _play.play()
            assert claudetrace.flush(timeout_s=30)
    kept = {name for span in receiver.spans for name in span.attributes}
    names = {name: cells[3] for name, cells in documented("attribute", "unit").items()}

    assert set(names.values()) == {"standard", "all"}
    assert {name for name in kept if not name.startswith("claudetrace.tag.")} <= {
        name for name, which in names.items() if which == "standard"
    }


def test_every_file_that_is_pointed_at_is_there() -> None:
    """The document's links to files of this project lead somewhere."""
    links = re.findall(r"\]\((?!http)([^)#]+)\)", DOCUMENT.read_text())

    assert links
    assert [link for link in links if not (DOCUMENT.parent / link).exists()] == []
