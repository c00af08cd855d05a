"""A program of its own: `python _program.py WAY API COLLECTOR` makes calls, alone or in children, and ends.

Each call bears the name of who made it as its tag `feature`, which its span and its metrics have too.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable
from typing import Any

import anthropic

import claudetrace

CHILDREN = 2
ASK: dict[str, Any] = {"model": "claude-sonnet-5", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}


def call(who: str) -> None:
    # A client of its own: what a fork does to connections of the parent's is not what these tests are about.
    with (
        anthropic.Anthropic(api_key="k", base_url=sys.argv[2], max_retries=0) as client,
        claudetrace.tag(feature=who),
    ):
        client.messages.create(**ASK)


def alone() -> None:
    call("parent")


def forks(before: Callable[[], object], end: Callable[[], object]) -> None:
    """The parent calls before and after it forks; each child calls once, has that delivered, and ends by `end`."""
    call("parent")
    before()
    for number in range(CHILDREN):
        if os.fork() == 0:
            call(f"child {number}")
            flush()
            end()
    call("parent")
    for _ in range(CHILDREN):
        assert os.wait()[1] == 0


def flush() -> None:
    assert claudetrace.flush(timeout_s=20)


def leave() -> None:
    os._exit(0)


def children_of_multiprocessing(method: str) -> None:
    call("parent")
    flush()
    context = multiprocessing.get_context(method)
    children = [context.Process(target=child, args=(f"child {number}", sys.argv)) for number in range(CHILDREN)]
    for each in children:
        each.start()
    for each in children:
        each.join()
        assert each.exitcode == 0


def child(who: str, argv: list[str]) -> None:
    sys.argv = argv
    claudetrace.instrument(otlp=argv[3])
    call(who)
    # What is loaded by now need not be loaded while the process ends.
    flush()
    call(who)


def app_sets_its_own() -> None:
    """The app's providers are set only after `instrument()`, and after a first call."""
    from opentelemetry import metrics, trace
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    call("before")
    flush()
    spans, measured, provider = InMemorySpanExporter(), InMemoryMetricReader(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(MeterProvider([measured]))
    call("after")
    flush()
    assert trace.get_tracer_provider() is provider
    print(*(span.attributes["claudetrace.tag.feature"] for span in spans.get_finished_spans()))
    data = measured.get_metrics_data()
    assert data is not None
    print(
        *(
            point.attributes["claudetrace.feature"]
            for metric in data.resource_metrics[0].scope_metrics[0].metrics
            if metric.name == "claudetrace.cost"
            for point in metric.data.data_points
        )
    )


WAYS: dict[str, Callable[[], object]] = {
    "alone": alone,
    "forks while sending": lambda: forks(lambda: None, sys.exit),
    "forks when all is sent": lambda: forks(flush, sys.exit),
    "forks that leave": lambda: forks(flush, leave),
    "multiprocessing fork": lambda: children_of_multiprocessing("fork"),
    "multiprocessing spawn": lambda: children_of_multiprocessing("spawn"),
    "app": app_sets_its_own,
}

if __name__ == "__main__":
    claudetrace.instrument(otlp=sys.argv[3])
    WAYS[sys.argv[1]]()
