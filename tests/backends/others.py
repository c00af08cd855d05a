"""Beside each other tool that watches the SDK: one span of a call has its cost, and none is added to theirs.

Each tool has an environment of its own beside this one's folder or the named one, and is active there as its
documentation says. Prints a table; 1 if a tool fails.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

import _passed  # noqa: E402 - the tests' own module comes from the path set above

ASK: dict[str, Any] = {"model": "claude-sonnet-5", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
COST = "claudetrace.cost.usd"
Spans = Callable[[], list[dict[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A tool: its packages, what makes it active, and how many spans of a call it is seen to make beside the SDK's."""

    packages: tuple[str, ...]
    start: str
    theirs: int
    theirs_streaming: int | None = None
    """Of a streamed call, where it is another number."""
    provider: str = "plain"
    environment: tuple[tuple[str, str], ...] = ()
    hides_native: bool = False
    """Whether the SDK's own span is suppressed within its."""
    seen: bool = True
    """Whether its wrappers stand before the SDK's methods."""


def main() -> int:
    """Tries each tool, or the named ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tools", nargs="*", help=f"only these: {', '.join(TOOLS)}")
    parser.add_argument("--folder", type=Path, help="where the environments are kept; by default they are not")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        print(json.dumps(inside(TOOLS[given.inside])))
        return 0
    with TemporaryDirectory() as temporary:
        folder = given.folder or (Path.cwd() / "others" if Path.cwd().name == ".backends" else Path(temporary))
        failed = [name for name in given.tools or TOOLS if not tried(name, TOOLS[name], folder.absolute())]
    print(f"{len(given.tools or TOOLS)} tools, {len(failed)} failed{': ' if failed else ''}{', '.join(failed)}")
    return int(bool(failed))


def tried(name: str, tool: Tool, folder: Path) -> bool:
    """Whether all is well beside `tool`; a line of the table."""
    said = run_inside(name, tool, folder)
    if isinstance(said, str):
        print(f"{name:16} {said}", flush=True)
        return False
    wrong = [fault for found in said["found"] for fault in faults(found, tool)]
    if tool.seen != bool(said["active"]):
        wrong.append(f"active() says {said['active']}")
    counts = "; ".join(f"{each['way']} {each['without']} -> {each['with']}" for each in said["found"])
    print(f"{name:16} {counts}  {', '.join(said['active']) or '-'}  {'; '.join(wrong) or 'ok'}", flush=True)
    if wrong:
        print(*_passed.changes(f"others/{name}", python_of(name, folder)), sep="\n", flush=True)
    else:
        _passed.remember(f"others/{name}", python_of(name, folder), counts)
    return not wrong


def python_of(name: str, folder: Path) -> Path:
    """The Python of a tool's environment."""
    return folder / name / "bin" / "python"


def faults(found: dict[str, Any], tool: Tool) -> list[str]:
    """What is wrong with the spans of one way to call."""
    way, native = found["way"], "without the SDK's" not in found["way"]
    theirs = tool.theirs if way != "stream" or tool.theirs_streaming is None else tool.theirs_streaming
    wanted = theirs + 1
    without = theirs + (native and not tool.hides_native)
    return [
        f"{way}: {fault}"
        for fault, holds in (
            (f"{found['with']} spans, not {wanted}", found["with"] == wanted),
            (
                f"{found['without']} spans without us, not {without}",
                found["without"] == without,
            ),
            (f"{found['rows']} rows", found["rows"] == 1),
            (f"cost on {found['costs']} spans", found["costs"] == 1),
            ("cost on a span of another's", found["cost_is_ours"]),
            ("something of ours on a span of another's", not found["touched"]),
            ("the row does not lead to the span with the cost", found["joined"]),
        )
        if not holds
    ]


def run_inside(name: str, tool: Tool, folder: Path) -> dict[str, Any] | str:
    """What the tool's own environment says, or why it says nothing."""
    python = python_of(name, folder)
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", python.parents[1]], check=True)
    pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    made = subprocess.run(
        [*pip, "-U", "-e", ROOT, *tool.packages, "anthropic"], check=False, capture_output=True, text=True
    )
    if made.returncode:
        return f"cannot be installed: {made.stderr.strip().splitlines()[-1:]}"
    ran = subprocess.run(
        [python, __file__, "--inside", name],
        env={**os.environ, **dict(tool.environment)},
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    lines = ran.stdout.strip().splitlines()
    return (
        json.loads(lines[-1]) if ran.returncode == 0 and lines else f"ended with {ran.returncode}: {ran.stderr[-600:]}"
    )


def inside(tool: Tool) -> dict[str, Any]:
    """What arrives for each way to call, without us and with us. In the tool's environment."""
    import claudetrace
    from claudetrace._demo import _answers
    from claudetrace._demo._server import PlayServer
    from claudetrace._telemetry import _other_tools

    spans = PROVIDERS[tool.provider]()
    exec(tool.start, {})  # a line of this file
    found = []
    with TemporaryDirectory() as folder, PlayServer() as server:
        for way, (call, native) in WAYS.items():
            answer = _answers.stream if call is streamed else _answers.answer
            server.add(answer(times=2))
            without = calling(call, server.url, native=native, spans=spans)
            db = Path(folder) / f"{len(found)}.db"
            with claudetrace.instrument(db=db, metrics=False):
                arrived = calling(call, server.url, native=native, spans=spans)
                active = [other.name for other in _other_tools.active()]
            rows = []
            if db.exists():
                with claudetrace.Ledger(db) as ledger:
                    rows = ledger.calls()
            found.append({"way": way, "without": len(without), "rows": len(rows), **judged(arrived, rows)})
    return {"found": found, "active": active}


def calling(call: Callable[[Any], None], url: str, *, native: bool, spans: Spans) -> list[dict[str, Any]]:
    """The spans of one call under a span of the app's own, without that one, which must have no word of ours."""
    import anthropic
    from opentelemetry import trace

    options: dict[str, Any] = {} if native else {"open_telemetry": False}
    before = len(spans())
    with (
        trace.get_tracer("app").start_as_current_span("app"),
        anthropic.Anthropic(api_key="k", base_url=url, max_retries=0, **options) as client,
    ):
        call(client)
    return [span for span in spans()[before:] if span["name"] != "app" or is_touched(span)]


def judged(arrived: list[dict[str, Any]], rows: list[Any]) -> dict[str, Any]:
    costly = [span for span in arrived if COST in span["attributes"]]
    ours = [span for span in arrived if span["ours"]]
    return {
        "with": len(arrived),
        "costs": len(costly),
        "cost_is_ours": all(span["ours"] for span in costly),
        "touched": [span["name"] for span in arrived if span not in ours and is_touched(span)],
        "joined": [span["span_id"] for span in costly] == [row.span_id for row in rows],
    }


def is_touched(span: dict[str, Any]) -> bool:
    return any(name.startswith("claudetrace.") for name in span["attributes"])


def whole(client: Any) -> None:
    client.messages.create(**ASK)


def streamed(client: Any) -> None:
    for _ in client.messages.create(**ASK, stream=True):
        continue


WAYS: dict[str, tuple[Callable[[Any], None], bool]] = {
    "create": (whole, True),
    "stream": (streamed, True),
    "create without the SDK's span": (whole, False),
}


def plain_spans() -> Spans:
    """The app's own provider, with what arrives kept in memory."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    trace.set_tracer_provider(TracerProvider())
    return later_spans()


def later_spans() -> Spans:
    """The provider that the tool has set, or will."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    told: list[Any] = []

    def arrived() -> list[dict[str, Any]]:
        provider: Any = trace.get_tracer_provider()
        if not told:
            told.append(provider.add_span_processor(SimpleSpanProcessor(exporter)))
        return [
            {
                "name": span.name,
                "span_id": f"{span.context.span_id:016x}" if span.context else "",
                "attributes": dict(span.attributes or {}),
                "ours": span.instrumentation_scope is not None
                and span.instrumentation_scope.name.startswith(("com.anthropic", "claudetrace")),
            }
            for span in exporter.get_finished_spans()
        ]

    return arrived


def datadog_spans() -> Spans:
    """Datadog's tracer as the provider: what it would send is kept."""
    import ddtrace
    from ddtrace.opentelemetry import TracerProvider
    from ddtrace.trace import TraceFilter
    from opentelemetry import trace

    kept: list[Any] = []

    class Keep(TraceFilter):  # type: ignore[misc,unused-ignore]  # untyped there
        def process_trace(self, trace: list[Any]) -> None:
            kept.extend(trace)

    ddtrace.tracer.configure(trace_processors=[Keep()])
    trace.set_tracer_provider(TracerProvider())

    def arrived() -> list[dict[str, Any]]:
        return [
            {
                "name": span.resource,
                "span_id": f"{span.span_id:016x}",
                "attributes": {**span.get_tags(), **span.get_metrics()},
                "ours": span.resource.startswith(("anthropic.messages", "chat ")),
            }
            for span in kept
        ]

    return arrived


PROVIDERS: dict[str, Callable[[], Spans]] = {"plain": plain_spans, "theirs": later_spans, "datadog": datadog_spans}
NEW_RELIC = (
    ("NEW_RELIC_LICENSE_KEY", "0" * 40),
    ("NEW_RELIC_APP_NAME", "others"),
    ("NEW_RELIC_DEVELOPER_MODE", "true"),
)
WATCHES = (*NEW_RELIC, ("NEW_RELIC_AI_MONITORING_ENABLED", "true"))
TOOLS = {
    "none": Tool(packages=(), start="", theirs=0, seen=False),
    "genai": Tool(
        packages=("opentelemetry-instrumentation-genai-anthropic",),
        start="from opentelemetry.instrumentation.genai.anthropic import AnthropicInstrumentor as I; I().instrument()",
        theirs=1,
    ),
    "openllmetry": Tool(
        packages=("opentelemetry-instrumentation-anthropic",),
        start="from opentelemetry.instrumentation.anthropic import AnthropicInstrumentor as I; I().instrument()",
        theirs=1,
    ),
    "openinference": Tool(
        packages=("openinference-instrumentation-anthropic",),
        start="from openinference.instrumentation.anthropic import AnthropicInstrumentor as I; I().instrument()",
        theirs=1,
    ),
    "logfire": Tool(
        packages=("logfire",),
        start="import logfire; logfire.configure(send_to_logfire=False, console=False); logfire.instrument_anthropic()",
        theirs=1,
        theirs_streaming=2,
        provider="theirs",
        hides_native=True,
    ),
    "langfuse": Tool(
        packages=("langfuse",),
        start="import langfuse; langfuse.Langfuse(public_key='pk', secret_key='sk', base_url='http://127.0.0.1:9')",
        theirs=0,
        provider="theirs",
        seen=False,
    ),
    "sentry": Tool(
        packages=("sentry-sdk",),
        start="import sentry_sdk; sentry_sdk.init(dsn='http://k@127.0.0.1:9/1', traces_sample_rate=1.0)",
        theirs=0,
    ),
    "datadog": Tool(packages=("ddtrace",), start="import ddtrace; ddtrace.patch(anthropic=True)", theirs=0),
    "datadog-provider": Tool(
        packages=("ddtrace",),
        start="",
        theirs=0,
        provider="datadog",
        seen=False,
        environment=(("DD_TRACE_OTEL_ENABLED", "true"), ("DD_INSTRUMENTATION_TELEMETRY_ENABLED", "false")),
    ),
    "newrelic": Tool(
        packages=("newrelic",),
        start="import newrelic.agent; newrelic.agent.initialize()",
        theirs=0,
        environment=WATCHES,
    ),
    "newrelic-idle": Tool(
        packages=("newrelic",),
        start="import newrelic.agent; newrelic.agent.initialize()",
        theirs=0,
        environment=NEW_RELIC,
        seen=False,
    ),
}


if __name__ == "__main__":
    sys.exit(main())
