"""What leaves over OTLP by providers of our own, at real collectors, over both protocols."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anthropic
import certifi
import pytest
import requests
from opentelemetry import context

import claudetrace
from claudetrace._demo import _answers as answers
from claudetrace._demo._server import PlayServer

from ._collecting import PROTOCOLS, certificate, run_program
from .receiver import Receiver

Start = Callable[..., claudetrace.Instrumentation]
ASK: dict[str, Any] = {"model": "claude-sonnet-5", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
COST = "claudetrace.cost"
BOTH = pytest.mark.parametrize("protocol", PROTOCOLS)


@pytest.fixture(params=PROTOCOLS)
def receiver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", PROTOCOLS[request.param])
    with Receiver(request.param) as running:
        yield running


@pytest.fixture
def call(server: PlayServer, client: anthropic.Anthropic) -> Callable[[], object]:
    """Makes one call, and has all of it delivered."""
    server.add(answers.answer(times=None))

    def made() -> object:
        client.messages.create(**ASK)
        return claudetrace.flush(timeout_s=30)

    return made


def costs(receiver: Receiver) -> list[float | None]:
    return [point.value for metric in receiver.metrics if metric.name == COST for point in metric.points]


def test_a_call_arrives_with_its_cost(
    receiver: Receiver,
    start: Start,
    call: Callable[[], object],
    ledger: Callable[[], list[claudetrace.Call]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the app has no providers, a URL is enough: one span and its metrics arrive, with the ledger's dollars."""
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=prod,service.instance.id=i-1")
    start(otlp=receiver.url)

    assert call()
    [spent], [row], [span] = costs(receiver), ledger(), receiver.spans
    assert (span.trace_id, span.span_id) == (row.trace_id, row.span_id)
    assert row.cost_usd is not None
    assert span.attributes["claudetrace.cost.usd"] == float(row.cost_usd)
    assert spent == float(row.cost_usd)
    for resource in (span.resource, receiver.metrics[0].resource):
        assert resource["service.name"] == "shop"
        assert resource["deployment.environment.name"] == "prod"
        assert resource["service.instance.id"] == "i-1"


def test_headers_and_compression_are_as_the_variables_say(
    receiver: Receiver, start: Start, call: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Headers of the standard variable are on every request, also where the keyword names the collector."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=secret%201,x-tenant=t")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    start(otlp=receiver.url)

    assert call()
    assert len(receiver.spans) == 1
    assert {(headers["api-key"], headers["x-tenant"]) for _, headers in receiver.requests} == {("secret 1", "t")}
    if receiver.protocol == "http":
        assert {headers.get("content-encoding") for _, headers in receiver.requests} == {"gzip"}


@BOTH
def test_tls_is_as_the_variables_say(
    protocol: Any,
    start: Start,
    call: Callable[[], object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A collector whose certificate is in OTEL_EXPORTER_OTLP_CERTIFICATE is trusted, and no other."""
    # Of the app's own requests: it would win, if it were let.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certifi.where())
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", PROTOCOLS[protocol])
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    files = certificate(tmp_path)
    with Receiver(protocol, tls=files) as receiver:
        start(otlp=receiver.url)
        assert not call()
        assert receiver.spans == []

        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "10")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(files[0]))
        start(otlp=receiver.url)
        assert call()
        assert len(receiver.spans) == 1


def test_the_keyword_wins_over_the_environment(
    receiver: Receiver, start: Start, call: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A URL in `instrument()` is where all goes; `otlp=True` goes where the variables say."""
    with Receiver(receiver.protocol) as other:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", other.url)
        start(otlp=receiver.url)
        assert call()
        assert (len(receiver.spans), other.requests) == (1, [])

        start(otlp=True)
        assert call()
        assert (len(receiver.spans), len(other.spans), len(costs(other))) == (1, 1, 1)


def test_nothing_is_sent_unasked(
    receiver: Receiver, start: Start, call: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variables alone send nothing: only `otlp=` does."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
    start()

    assert call()
    claudetrace.uninstrument()
    assert receiver.requests == []


@pytest.mark.parametrize(
    ("variables", "arrive"),
    [
        ({"OTEL_TRACES_EXPORTER": "none"}, (0, 1)),
        ({"OTEL_METRICS_EXPORTER": "none"}, (1, 0)),
        ({"OTEL_SDK_DISABLED": "true"}, (0, 0)),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, (0, 1)),
    ],
    ids=lambda value: next(iter(value), "") if isinstance(value, dict) else "",
)
def test_the_standard_variables_keep_signals_back(
    variables: dict[str, str],
    arrive: tuple[int, int],
    receiver: Receiver,
    start: Start,
    call: Callable[[], object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A signal that the standard variables switch off does not leave; metrics are not sampled."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    start(otlp=receiver.url)

    assert call()
    assert (len(receiver.spans), len(costs(receiver))) == arrive


def test_temporality_is_as_the_variable_says(
    receiver: Receiver, start: Start, call: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the preference `delta` each export tells what came since the last."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta")
    start(otlp=receiver.url)

    assert call()
    assert call()
    first, second = costs(receiver)
    assert first == second
    assert {metric.temporality for metric in receiver.metrics if metric.name == COST} == {"DELTA"}


@pytest.mark.parametrize("variable", ["OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL"])
def test_a_wrong_protocol_is_told_at_set_up(variable: str, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A protocol that OTLP does not have raises, with those that it has."""
    monkeypatch.setenv(variable, "http/json")

    with pytest.raises(claudetrace.ClaudetraceError, match=f"{variable}='http/json': it is one of http/protobuf, grpc"):
        start(otlp=True)


def test_no_instrumentation_sees_an_export(
    start: Start, call: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests to the collector are suppressed for every instrumentation, in spans and in metrics."""
    seen: list[object] = []
    send = requests.Session.send
    with Receiver() as receiver:

        def noted(session: requests.Session, request: requests.PreparedRequest, **how: Any) -> requests.Response:
            # What ended before may still try to send to its own collector.
            if str(request.url).startswith(receiver.url):
                seen.append(context.get_value(context._SUPPRESS_INSTRUMENTATION_KEY))
            return send(session, request, **how)

        monkeypatch.setattr(requests.Session, "send", noted)
        start(otlp=receiver.url)
        assert call()
        told = [*seen]

    assert told == [True] * len(receiver.requests)
    assert len(told) == 2


def test_the_apps_providers_are_used_whenever_it_sets_them(receiver: Receiver, db: Path, server: PlayServer) -> None:
    """What comes after the app has set its providers goes to them alone, and they stay the global ones."""
    server.add(answers.answer(times=None))

    ended = run_program("app", server.url, receiver.url, db)

    assert (ended.returncode, ended.stdout) == (0, "after\nafter\n"), ended.stderr
    assert [span.attributes["claudetrace.tag.feature"] for span in receiver.spans] == ["before"]


CHILDREN = {"parent": 2, "child 0": 1, "child 1": 1}


@pytest.mark.parametrize("way", ["forks while sending", "forks when all is sent", "forks that leave"])
def test_children_of_a_fork_arrive_once(way: str, receiver: Receiver, db: Path, server: PlayServer) -> None:
    """Spans and metrics of a process and its children arrive once each, by whom they were made."""
    server.add(answers.answer(times=None))

    ended = run_program(way, server.url, receiver.url, db)

    assert ended.returncode == 0, ended.stderr
    assert spans_by_feature(receiver) == CHILDREN
    assert last_counts(receiver) == CHILDREN


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_children_of_multiprocessing_arrive_once(method: str, receiver: Receiver, db: Path, server: PlayServer) -> None:
    """A child of multiprocessing, which runs no `atexit`, delivers before it ends."""
    server.add(answers.answer(times=None))

    ended = run_program(f"multiprocessing {method}", server.url, receiver.url, db)

    assert ended.returncode == 0, ended.stderr
    twice = {name: 1 if name == "parent" else 2 for name in CHILDREN}
    assert spans_by_feature(receiver) == twice
    assert last_counts(receiver) == twice


def spans_by_feature(receiver: Receiver) -> Counter[str]:
    return Counter(span.attributes["claudetrace.tag.feature"] for span in receiver.spans)


def last_counts(receiver: Receiver) -> Counter[str]:
    """How many calls each process and feature told of in all: running totals, so that the last one counts."""
    last = {
        (metric.resource["service.instance.id"], point.attributes["claudetrace.feature"]): point.count
        for metric in receiver.metrics
        if metric.name == "gen_ai.client.operation.duration"
        for point in metric.points
    }
    counts: Counter[str] = Counter()
    for (_, feature), count in last.items():
        counts[feature] += count
    return counts
