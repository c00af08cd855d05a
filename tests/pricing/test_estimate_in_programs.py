"""`claudetrace.estimate`: with the ledger, the settings and the clients of a running program."""

from __future__ import annotations

from decimal import Decimal

import anthropic
import pytest

import claudetrace
from claudetrace._demo import _answers as answers
from claudetrace._demo import _wire as wire

MODEL = "claude-opus-5-5"
ASK = {"model": MODEL, "max_tokens": 1000, "messages": [{"role": "user", "content": "Hello?"}]}
COUNT = "/v1/messages/count_tokens"


def counts(server, tokens: int = 10_000) -> None:
    server.add(answers.answer({"input_tokens": tokens}, path="*count_tokens", times=None))


def call(server, client, output_tokens: int, model: str = MODEL) -> None:
    server.add(answers.answer(wire.message("Hello.", wire.usage(10, output_tokens), model=model)))
    client.messages.create(**{**ASK, "model": model})


def figures(found: claudetrace.Estimate) -> tuple:
    return found.at_least_usd, found.likely_usd, found.at_most_usd


def test_likely_is_the_median_of_the_same_model_and_feature(server, client, start):
    """Of calls with another feature, another model or none the median knows nothing; another name is the same model."""
    counts(server)
    start()
    with claudetrace.tag(feature="rerank"):
        for tokens in (100, 300):
            call(server, client, tokens)
        call(server, client, 200, model=f"{MODEL}-20260922")
        for tokens in (998, 999):
            call(server, client, tokens, model="claude-sonnet-5-5")
    call(server, client, 888)
    claudetrace.flush()

    with claudetrace.tag(feature="rerank"):
        tagged = claudetrace.estimate(client, **ASK)
    with claudetrace.tag(feature="new"):
        unheard = claudetrace.estimate(client, **ASK)
    untagged = claudetrace.estimate(claudetrace.tagged(client, team="a"), **ASK)

    assert figures(tagged) == (Decimal("0.04"), Decimal("0.044"), Decimal("0.1"))
    assert unheard.likely_usd is None
    assert untagged.likely_usd == Decimal("0.05776")


def test_a_hashed_feature_is_found_by_its_hash(server, client, start):
    """Where features are stored as hashes, the median is that of the same feature all the same."""
    counts(server)
    start(hash_tags=("feature",), hash_key="k" * 40)
    with claudetrace.tag(feature="secret"):
        call(server, client, 500)
        claudetrace.flush()
        assert claudetrace.estimate(client, **ASK).likely_usd == Decimal("0.05")


async def test_an_async_client_is_awaited(server, client, async_client, start):
    """With an async client the estimate is an awaitable of the same."""
    counts(server)
    start()
    call(server, client, 200)
    claudetrace.flush()

    assert await claudetrace.estimate(async_client, **ASK) == claudetrace.estimate(client, **ASK)


def test_the_count_is_recorded_and_costs_nothing(server, client, start, db):
    """The question itself is a row of the ledger with the tags in force, at cost 0."""
    counts(server)
    start()
    with claudetrace.tag(feature="rerank"):
        claudetrace.estimate(client, **ASK)
    claudetrace.flush()

    (row,) = claudetrace.Ledger(db).calls()
    assert (row.operation, row.cost_usd, row.feature, row.usage) == (
        "messages.count_tokens",
        Decimal(0),
        "rerank",
        {"input_tokens": 10_000},
    )


def test_own_prices_of_the_meter_hold(server, client, start):
    """The estimate is by the own prices that the calls will be priced by."""
    counts(server)
    start(rates={"discount": "0.5"})

    found = claudetrace.estimate(client, **ASK)

    assert figures(found) == (Decimal("0.02"), None, Decimal("0.05"))
    assert found.flags == ("custom_rates",)


def test_the_data_zone_of_the_settings_holds(server, start, tmp_path):
    """On Foundry in the US Data Zone an estimate has its premium, as the calls will."""
    counts(server)
    config = tmp_path / "claudetrace.toml"
    config.write_text('[platforms]\nfoundry_data_zone = "us"\n')
    start(config=config)
    with anthropic.AnthropicFoundry(api_key="k", base_url=server.url, max_retries=0) as foundry:
        found = claudetrace.estimate(foundry, **ASK)

    assert figures(found) == (Decimal("0.044"), None, Decimal("0.11"))


def test_without_a_meter_there_is_still_an_estimate(server, client):
    """Where nothing records, the bounds are there and the likely figure is not."""
    counts(server)

    found = claudetrace.estimate(client, **ASK)

    assert figures(found) == (Decimal("0.04"), None, Decimal("0.1"))


def test_what_only_the_beta_takes_is_counted_by_the_beta(server, client):
    """Betas and their settings go to the count that knows them."""
    counts(server)

    claudetrace.estimate(client, betas=["context-management-2025-06-27"], context_management={"edits": []}, **ASK)

    (request,) = server.requests
    assert request.headers["anthropic-beta"].startswith("context-management-2025-06-27")
    assert request.json["context_management"] == {"edits": []}


def test_a_prompt_that_is_too_long_is_an_error(server, client, start):
    """It names the tokens, the limit and what to leave out."""
    counts(server, 1_000_001)
    start()

    with pytest.raises(claudetrace.ClaudetraceError, match="1000001 tokens and claude-opus-5-5 takes 1000000"):
        claudetrace.estimate(client, **ASK)


async def test_a_count_that_fails_is_an_error(server, client, async_client, start):
    """It names the model and what the API said, and the failed count is a row that costs nothing."""
    server.add(answers.failure(529, "overloaded_error", path=COUNT, times=None))
    start()

    with pytest.raises(claudetrace.ClaudetraceError, match=f"{MODEL} could not be counted: .*verloaded"):
        claudetrace.estimate(client, **ASK)
    with pytest.raises(claudetrace.ClaudetraceError, match=f"{MODEL} could not be counted: .*verloaded"):
        await claudetrace.estimate(async_client, **ASK)


@pytest.mark.parametrize("max_tokens", [-1, "100", 1.5, None])
def test_a_limit_that_is_no_count_is_an_error(server, client, max_tokens):
    """It names the value, and the API is not asked."""
    with pytest.raises(claudetrace.ClaudetraceError, match=r"max_tokens=.* is no count of tokens"):
        claudetrace.estimate(client, **{**ASK, "max_tokens": max_tokens})

    assert server.requests == []


def test_a_ledger_that_cannot_be_read_does_not_stop_it(server, client, start, db, monkeypatch):
    """The bounds are known without the ledger, so a fault of it costs the likely figure alone."""
    from claudetrace._ledger import _calls

    counts(server)
    start()
    call(server, client, 200)
    claudetrace.flush()
    monkeypatch.setattr(_calls, "RECENT", "SELECT nothing FROM nowhere")

    assert figures(claudetrace.estimate(client, **ASK)) == (Decimal("0.04"), None, Decimal("0.1"))


def test_the_call_itself_stays_within_the_estimate(server, client, start, db):
    """A call that is then made costs between the least and the most that were told."""
    counts(server, 10)
    start()
    found = claudetrace.estimate(client, **ASK)
    call(server, client, 400)
    claudetrace.flush()

    made = claudetrace.Ledger(db).calls()[0]
    assert found.at_least_usd <= made.cost_usd <= found.at_most_usd
