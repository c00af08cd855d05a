"""What metrics are told of a call, through the real SDK and a real ledger."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import anthropic
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

import claudetrace
from claudetrace._demo import _answers, _wire
from claudetrace._guard import Guard
from claudetrace._telemetry._metrics import Metrics
from claudetrace._telemetry._providers import Providers

if TYPE_CHECKING:
    from pathlib import Path

    from claudetrace._call import Row
    from claudetrace._demo._server import PlayServer

MODEL = "claude-sonnet-5"
ASK: dict[str, Any] = {"model": MODEL, "max_tokens": 100, "messages": [{"role": "user", "content": "Hi."}]}
HELLO = _wire.message("Hello.", _wire.usage(100, 50, cache_read=2_000, write_5m=200, write_1h=100), model=MODEL)
DURATION = "gen_ai.client.operation.duration"
CHAT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "anthropic",
    "gen_ai.request.model": MODEL,
    "gen_ai.response.model": MODEL,
    "claudetrace.outcome": "ok",
    "claudetrace.platform": "anthropic",
}


class Kept:
    """A provider whose metrics are read when asked for, and `Metrics` that feed it."""

    def __init__(self, tags: tuple[str, ...] = ()) -> None:
        self.reader = InMemoryMetricReader()
        self.provider: MeterProvider | None = MeterProvider([self.reader])
        self.state = {"lost": 0, "pending": 0}
        self.guard = Guard()
        self.metrics = Metrics(lambda: self.provider, lambda: self.state, self.guard, tags=tags)

    def points(self, name: str) -> list[Any]:
        """The points of this metric."""
        data = self.reader.get_metrics_data()
        return [
            point
            for resource in (data.resource_metrics if data else [])
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]

    def sums(self, name: str, *by: str) -> dict[Any, Any]:
        """What this metric adds up to, by one attribute or all of them."""
        return {
            tuple(point.attributes.get(each) for each in by): getattr(point, "sum", getattr(point, "value", None))
            for point in self.points(name)
        }


@pytest.fixture
def kept() -> Iterator[Kept]:
    made = Kept()
    yield made
    made.metrics.close()
    assert not made.guard.failures


@pytest.fixture
def rows(start: Callable[..., object], db: Path) -> Callable[[], list[Row]]:
    """The rows that calls have left in a real ledger."""
    start(metrics=False)

    def read() -> list[Row]:
        assert claudetrace.flush(timeout_s=30)
        with closing(sqlite3.connect(db)) as connection:
            connection.row_factory = sqlite3.Row
            found = connection.execute("SELECT * FROM calls ORDER BY id").fetchall()
        return [{name: row[name] for name in row.keys() if row[name] is not None} for row in found]  # noqa: SIM118

    return read


def test_an_answer_is_tokens_time_and_dollars(
    kept: Kept, rows: Callable[[], list[Row]], client: anthropic.Anthropic, server: PlayServer
) -> None:
    """A call is told once: input with the cache's tokens, output, its duration, its cost, and the limit's headroom."""
    server.add(_answers.answer(HELLO))
    with claudetrace.tag(feature="greet", user="u1", team="north"):
        client.messages.create(**ASK)

    kept.metrics.write(rows())

    (row,) = rows()
    attributes = {**CHAT, "claudetrace.feature": "greet"}
    (took,) = kept.points("gen_ai.client.operation.duration")
    assert (dict(took.attributes), took.count, took.sum) == (attributes, 1, row["duration_ms"] / 1e3)
    assert kept.sums("gen_ai.client.token.usage", "gen_ai.token.type") == {("input",): 2_400, ("output",): 50}
    assert dict(kept.points("gen_ai.client.token.usage")[0].attributes) == {**attributes, "gen_ai.token.type": "input"}
    assert [dict(point.attributes) for point in kept.points("claudetrace.cost")] == [attributes]
    assert kept.sums("claudetrace.cost") == {(): row["cost_picousd"] / 1e12}
    assert kept.sums("gen_ai.client.operation.cost") == {(): row["cost_picousd"] / 1e12}
    (left,) = kept.points("claudetrace.rate_limit.headroom")
    assert left.value == row["rate_limit_headroom"]
    assert dict(left.attributes) == {"claudetrace.rate_limit": row["rate_limit"], "gen_ai.request.model": MODEL}


def test_a_stream_is_timed_from_chunk_to_chunk(
    kept: Kept, rows: Callable[[], list[Row]], client: anthropic.Anthropic, server: PlayServer
) -> None:
    """A streamed call has its time to the first chunk, and a gap for each chunk after the first."""
    server.add(_answers.stream(HELLO))
    for _ in client.messages.create(**ASK, stream=True):
        pass
    (row,) = rows()
    kept.metrics.chunks(row["id"], (10.0, 10.25, 10.75))

    kept.metrics.write([row])

    assert kept.sums("gen_ai.client.operation.time_to_first_chunk") == {(): row["time_to_first_token_ms"] / 1e3}
    (gaps,) = kept.points("gen_ai.client.operation.time_per_output_chunk")
    assert (gaps.count, gaps.sum, dict(gaps.attributes)) == (2, 0.75, CHAT)


def test_a_failed_call_has_its_error_on_its_duration_alone(
    kept: Kept, rows: Callable[[], list[Row]], client: anthropic.Anthropic, server: PlayServer
) -> None:
    """A call that the API refuses has a duration with its error, and neither tokens nor a cost."""
    server.add(_answers.failure(529, "overloaded_error"))
    with pytest.raises(anthropic.APIStatusError):
        client.messages.create(**ASK)

    kept.metrics.write(rows())

    (took,) = kept.points("gen_ai.client.operation.duration")
    failed = {**CHAT, "claudetrace.outcome": "error", "error.type": "overloaded_error"}
    del failed["gen_ai.response.model"]
    assert dict(took.attributes) == failed
    assert kept.points("gen_ai.client.token.usage") == []
    assert kept.points("claudetrace.cost") == []
    assert kept.points("gen_ai.client.operation.cost") == []


def test_results_of_a_batch_cost_but_take_no_time(
    kept: Kept, rows: Callable[[], list[Row]], client: anthropic.Anthropic, server: PlayServer
) -> None:
    """Each result of a batch adds its tokens and its cost; the download of them all is no operation of each."""
    server.add(*_answers.batch("msgbatch_1", {"a": HELLO, "b": {**HELLO, "id": "msg_2"}}))
    list(client.messages.batches.results("msgbatch_1"))

    kept.metrics.write(rows())

    assert kept.sums("gen_ai.client.token.usage", "gen_ai.token.type") == {("input",): 4_800, ("output",): 100}
    assert kept.sums("claudetrace.cost", "gen_ai.operation.name") == {
        ("messages.batches.result",): sum(row["cost_picousd"] for row in rows()) / 1e12
    }
    assert kept.points("gen_ai.client.operation.duration") == []


def plain(**changes: Any) -> Row:
    """A row as the recorder makes it, for what no API says on demand; `None` leaves a column out."""
    made = {
        "id": "1",
        "call_id": "1",
        "operation": "messages.create",
        "platform": "anthropic",
        "model_requested": MODEL,
        "model": MODEL,
        "outcome": "ok",
        "streamed": 0,
        "duration_ms": 1_000.0,
        "input_tokens": 10,
        "output_tokens": 1,
        "cost_picousd": 1_000,
        "cost_flags": "[]",
        **changes,
    }
    return {name: value for name, value in made.items() if value is not None}


def test_what_is_unpriced_or_paid_by_another_adds_no_dollars(kept: Kept) -> None:
    """An answer without a price adds no cost; one that another organization pays is an answer of 0 dollars."""
    kept.metrics.write(
        [
            plain(cost_picousd=None, cost_flags='["unknown_model"]'),
            plain(cost_picousd=7_000_000_000_000, cost_flags='["billed_to_user_profile"]'),
        ]
    )

    assert kept.sums("claudetrace.cost") == {(): 0.0}
    (cost,) = kept.points("gen_ai.client.operation.cost")
    assert (cost.count, cost.sum) == (1, 0.0)
    assert kept.sums("gen_ai.client.token.usage", "gen_ai.token.type") == {("input",): 20, ("output",): 2}


def test_a_call_that_a_budget_stopped_is_no_call(kept: Kept) -> None:
    """A row that a budget left has no duration and no cost: nothing was sent."""
    stopped = plain(outcome="error", error_type="BudgetExceeded", input_tokens=None, output_tokens=None, cost_picousd=0)

    kept.metrics.write([stopped])

    assert kept.points("gen_ai.client.operation.duration") == []
    assert kept.points("claudetrace.cost") == []


def test_two_answers_of_one_call_took_one_time(kept: Kept) -> None:
    """A fallback's second response adds tokens and cost, and the call's duration is told once."""
    kept.metrics.write([plain(), plain(id="2")])

    assert kept.points("gen_ai.client.operation.duration")[0].count == 1
    assert kept.sums("gen_ai.client.token.usage", "gen_ai.token.type") == {("input",): 20, ("output",): 2}


def test_ten_thousand_costs_add_up_without_drift(kept: Kept) -> None:
    """The counter is the float nearest to the exact sum, or the one beside it, however many costs are in it."""
    prices = [1_234_567, 2_999_999_999, 3, 17_000_000_001] * 2_500

    kept.metrics.write([plain(cost_picousd=1_000_000_000_000_000), *(plain(cost_picousd=price) for price in prices)])

    exact = 1_000_000_000_000_000 + sum(prices)
    assert kept.sums("claudetrace.cost")[()] == pytest.approx(exact / 1e12, rel=3e-16, abs=0)


def test_the_hundred_and_first_value_is_other(kept: Kept) -> None:
    """Beyond a hundred values of an attribute in a process, further ones share one word, and nothing is lost."""
    kept.metrics.write([plain(feature=f"f{number}") for number in range(150)])
    kept.metrics.write([plain(feature="f7"), plain(feature="f149")])

    counts = {point.attributes["claudetrace.feature"]: point.count for point in kept.points(DURATION)}
    assert len(counts) == 101
    assert (counts["f7"], counts["(other)"]) == (2, 51)


def test_metric_tags_are_attributes_of_calls(
    kept: Kept, start: Callable[..., Any], client: anthropic.Anthropic, server: PlayServer, monkeypatch: Any
) -> None:
    """The tags of `metric_tags` are on the metrics of a call that has them, and no other tag is."""
    server.add(_answers.answer(HELLO, times=None))
    monkeypatch.setattr(Providers, "meter_provider", lambda _: kept.provider)
    start(metric_tags=("customer", "team", "feature"))
    with claudetrace.tag(customer="acme", team="a", feature="chat", user="u", prompt="p", other="o"):
        client.messages.create(**ASK)
    with claudetrace.tag(team="b"):
        client.messages.create(**ASK)
    client.messages.create(**ASK)
    claudetrace.flush()

    told = [{**CHAT, "claudetrace.tag.team": "b"}, CHAT]
    of_acme = {"claudetrace.customer": "acme", "claudetrace.tag.team": "a", "claudetrace.feature": "chat"}
    for name in (DURATION, "claudetrace.cost", "gen_ai.client.operation.cost"):
        assert [dict(point.attributes) for point in kept.points(name)] == [{**CHAT, **of_acme}, *told]


def test_metric_tags_are_capped() -> None:
    """Each has a hundred values in a process, and what comes after is counted under one word."""
    kept = Kept(tags=("customer", "team"))
    kept.metrics.write([plain(customer=f"c{number}", tags='{"team": "a"}') for number in range(150)])
    kept.metrics.write([plain(tags=f'{{"team": "t{number}"}}') for number in range(150)])

    by_customer = {point.attributes.get("claudetrace.customer"): point.count for point in kept.points(DURATION)}
    by_team = {point.attributes["claudetrace.tag.team"] for point in kept.points(DURATION)}
    assert (len(by_customer), by_customer["c7"], by_customer["(other)"]) == (102, 1, 50)
    assert (len(by_team), "(other)" in by_team) == (101, True)


def test_a_provider_may_come_go_and_change(kept: Kept) -> None:
    """Nothing is told while there is no provider, and a new one is told what comes after it alone."""
    provider, kept.provider = kept.provider, None
    kept.metrics.write([plain()])
    assert not kept.metrics.wanted

    kept.provider = provider
    kept.metrics.write([plain()])
    assert kept.metrics.wanted
    assert kept.sums("claudetrace.cost") == {(): 1e-09}

    second = Kept()
    kept.provider = second.provider
    kept.metrics.write([plain()])
    assert second.sums("claudetrace.cost") == {(): 1e-09}
    assert kept.points("claudetrace.journal.pending") == []


def test_health_is_told_by_the_one_that_runs(kept: Kept) -> None:
    """Rows lost and pending are read when metrics are; a second meter on the same provider takes over the first."""
    kept.metrics.write([plain()])
    kept.state.update(lost=2, pending=5)
    assert kept.sums("claudetrace.records.lost") == {(): 2}
    assert kept.sums("claudetrace.journal.pending") == {(): 5}

    kept.metrics.close()
    assert kept.points("claudetrace.journal.pending") == []

    after = Metrics(lambda: kept.provider, lambda: {"lost": 1, "pending": 7}, kept.guard)
    after.write([plain()])
    assert kept.sums("claudetrace.records.lost") == {(): 3}
    assert kept.sums("claudetrace.journal.pending") == {(): 7}
    after.close()


def test_one_row_that_cannot_be_told_keeps_none_from_the_rest() -> None:
    """A broken row is counted as a failure of ours, and the next is told."""
    kept = Kept()

    kept.metrics.write([{"id": "1"}, plain()])

    assert kept.points(DURATION)[0].count == 1
    assert kept.guard.failures.total() == 1


def test_one_row_whose_tags_cannot_be_read_keeps_none_from_the_rest() -> None:
    """The same holds for a row whose attributes cannot be told."""
    kept = Kept(tags=("team",))

    kept.metrics.write([{**plain(), "tags": "{"}, plain()])

    assert kept.points(DURATION)[0].count == 1
    assert kept.guard.failures.total() == 1


def test_times_whose_row_never_comes_are_let_go(kept: Kept) -> None:
    """What is put aside for rows that never come is bounded, and does not keep out that of rows that do."""
    for number in range(5_000):
        kept.metrics.chunks(f"lost{number}", (0.0, 1.0))
        if number % 500 == 0:
            kept.metrics.write([])
    kept.metrics.chunks("1", (0.0, 1.0, 2.0))

    kept.metrics.write([plain(streamed=1)])

    assert kept.points("gen_ai.client.operation.time_per_output_chunk")[0].count == 2
    assert len(kept.metrics._chunks) <= 1024


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_starts_at_nothing(kept: Kept) -> None:
    """A child with a provider of its own tells its own rows, and none of the parent's."""
    kept.metrics.write([plain()])
    kept.metrics.chunks("2", (0.0, 1.0))
    child = os.fork()
    if child == 0:
        status = 1
        try:
            fresh = Kept()
            kept.provider = fresh.provider
            kept.metrics.write([plain(id="2", call_id="2", cost_picousd=5_000, streamed=1)])
            told = fresh.sums("claudetrace.cost"), fresh.points("gen_ai.client.operation.time_per_output_chunk")
            status = 0 if told == ({(): 5e-09}, []) else 2
        finally:
            os._exit(status)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    kept.metrics.write([plain()])
    assert kept.points(DURATION)[0].count == 2
