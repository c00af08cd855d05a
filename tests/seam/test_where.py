"""What a call costs by where it goes: the client's region, the endpoint's host, and what `[hosts]` says of it."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import anthropic
import pytest

import claudetrace
from claudetrace._demo import _answers, _wire
from claudetrace._demo._server import PlayServer
from claudetrace._seam._where import Where, terms_of_calls, where_to

Start = Callable[..., claudetrace.Instrumentation]
Rows = Callable[[], list[claudetrace.Call]]
SONNET = "claude-sonnet-4-6"
BASE_USD = Decimal("0.018")
"""A thousand tokens in and a thousand out of Sonnet 4.6, at 3 and 15 dollars a million."""
KEYS: dict[str, Any] = {"aws_access_key": "a", "aws_secret_key": "s", "max_retries": 0}


def bedrock(url: str, region: str) -> Any:
    return anthropic.AnthropicBedrock(base_url=url, aws_region=region, **KEYS)


def ask(client: Any, model: str = SONNET, **more: Any) -> Any:
    return client.messages.create(
        model=model, max_tokens=2000, messages=[{"role": "user", "content": "Hello?"}], **more
    )


def answers(server: PlayServer, model: str = SONNET, path: str = "/*", **more: Any) -> None:
    """The server gives this message to whoever asks."""
    whole = _wire.message("Hello.", _wire.usage(1000, 1000), model=model, **more)
    server.add(_answers.answer(whole, path=path, times=None))


def config(folder: Path, hosts: str) -> Path:
    file = folder / "settings.toml"
    file.write_text(f"[hosts]\n{hosts}\n")
    return file


def told(row: claudetrace.Call) -> tuple[Decimal | None, tuple[str, ...]]:
    return row.cost_usd, row.cost_flags


@pytest.mark.parametrize(
    ("region", "model", "expected"),
    [
        ("us-gov-west-1", f"anthropic.{SONNET}-v1:0", (Decimal("0.0216"), ())),
        ("us-gov-east-1", f"us-gov.anthropic.{SONNET}-v1:0", (Decimal("0.0216"), ())),
        (
            "us-gov-west-1",
            "arn:aws-us-gov:bedrock:us-gov-west-1:1:application-inference-profile/x",
            (Decimal("0.0216"), ()),
        ),
        ("us-east-1", f"anthropic.{SONNET}-v1:0", (BASE_USD, ("endpoint_scope_unknown",))),
        ("us-east-1", f"us.anthropic.{SONNET}-v1:0", (Decimal("0.0198"), ())),
    ],
)
def test_a_govcloud_region_costs_a_fifth_more(
    start: Start, server: PlayServer, ledger: Rows, region: str, model: str, expected: Any
) -> None:
    """Whatever the id, calls that a client makes in a us-gov region cost 1.2 times the base."""
    start()
    answers(server)
    ask(bedrock(server.url, region), model)

    assert told(ledger()[0]) == expected


@pytest.mark.parametrize(
    ("where", "scope"),
    [
        (Where("bedrock", "us-east-1", "bedrock-runtime.us-gov-west-1.amazonaws.com", 443), "us-gov"),
        (Where("bedrock", None, "bedrock-mantle.us-gov-east-1.api.aws", 443), "us-gov"),
        (Where("bedrock", "us-gov-west-1", "bedrock-runtime-fips.us-gov-west-1.amazonaws.com", 443), "us-gov"),
        (Where("bedrock", "us-gov-west-1", "vpce-1.bedrock-runtime.us-gov-west-1.vpce.amazonaws.com", 443), "us-gov"),
        (Where("bedrock", "us-gov-west-1", "gateway.corp", 443), "us-gov"),
        (Where("bedrock", "us-gov-west-1", "bedrock-runtime.us-east-1.amazonaws.com", 443), None),
        (Where("anthropic", None, "bedrock-mantle.us-gov-west-1.api.aws", 443), "us-gov"),
        (Where("anthropic", None, "us-gov-west-1x.example", 443), None),
        (Where("vertex", "us", "aiplatform.us.rep.googleapis.com", 443), "regional"),
        (Where("vertex", "global", "gateway.corp", 443), "global"),
    ],
)
def test_the_endpoint_tells_its_scope(where: Where, scope: str | None) -> None:
    """The host of an endpoint of AWS goes before the client's region, which counts behind any other host."""
    assert terms_of_calls()(where, False, None).endpoint_scope == scope


def test_the_path_goes_before_the_client() -> None:
    """A location that a path names is the one that is called, whatever the client was made with."""
    if not hasattr(anthropic, "AnthropicGoogleCloud"):
        pytest.skip("not available: this version of the SDK has no such client")
    vertex = anthropic.AnthropicVertex(region="global", project_id="p", access_token="t")
    path = "/projects/p/locations/europe-west1/publishers/anthropic/models/x:rawPredict"
    cloud = anthropic.AnthropicGoogleCloud(
        base_url="https://gateway.corp/v1/projects/p/locations/us-east5/", workspace_id="w", skip_auth=True
    )

    assert [where_to(vertex, url).region for url in ("/v1/messages", path)] == ["global", "europe-west1"]
    assert where_to(cloud, "/v1/messages").region == "us-east5"
    assert where_to(vertex, "https://other.example/v1/messages")[2:] == ("other.example", 443)


@pytest.mark.parametrize(
    ("said", "model", "expected"),
    [
        ('{ proxy = "anthropic" }', f"us.anthropic.{SONNET}-v1:0", ("anthropic", BASE_USD, ())),
        ('{ proxy = "bedrock" }', f"us.anthropic.{SONNET}-v1:0", ("bedrock", Decimal("0.0198"), ())),
        ('{ proxy = "bedrock" }', SONNET, ("bedrock", BASE_USD, ("endpoint_scope_unknown",))),
        ('{ proxy = "vertex", endpoint_scope = "regional" }', SONNET, ("vertex", Decimal("0.0198"), ())),
        ('{ proxy = "bedrock", endpoint_scope = "us-gov" }', SONNET, ("bedrock", Decimal("0.0216"), ())),
        ('"free"', SONNET, ("anthropic", Decimal(0), ("free_host",))),
        ('"free"', "our-llama", ("anthropic", Decimal(0), ("free_host",))),
        ('"replays"', SONNET, ("anthropic", BASE_USD, ())),
    ],
)
def test_a_named_host_is_priced_as_the_settings_say(
    start: Start, server: PlayServer, ledger: Rows, tmp_path: Path, said: str, model: str, expected: Any
) -> None:
    """A proxy has the prices of what stands behind it, and a free host costs nothing, whatever it calls its model."""
    start(config=config(tmp_path, f'"{server.url.removeprefix("http://")}" = {said}'))
    answers(server, model)
    ask(anthropic.Anthropic(api_key="k", base_url=server.url), model)
    row = ledger()[0]

    assert (row.platform, *told(row)) == expected


def test_a_host_of_another_port_is_not_named(start: Start, server: PlayServer, ledger: Rows, tmp_path: Path) -> None:
    """What is said of `host:port` goes before what is said of the host, and holds for no other port."""
    port = server.url.rpartition(":")[2]
    start(config=config(tmp_path, '"127.0.0.1:1" = "free"'))
    answers(server)
    client = anthropic.Anthropic(api_key="k", base_url=server.url)
    ask(client)
    start(config=config(tmp_path, f'"127.0.0.1" = "free"\n"127.0.0.1:{port}" = {{ proxy = "anthropic" }}'))
    ask(client)
    start(config=config(tmp_path, '"127.0.0.1" = "free"'))
    ask(client)

    assert list(map(told, ledger())) == [(BASE_USD, ()), (BASE_USD, ()), (Decimal(0), ("free_host",))]


def test_a_free_host_costs_nothing_however_the_call_ends(
    start: Start, server: PlayServer, ledger: Rows, db: Path, tmp_path: Path
) -> None:
    """A stream that was left, a connection that failed and code that ran are no lower bounds at a host that is free."""
    start(config=config(tmp_path, '"127.0.0.1" = "free"'))
    whole = _wire.message("Hello there, and a long way round.", _wire.usage(1000, 50), model=SONNET)
    server.add(_answers.stream(whole))
    client = anthropic.Anthropic(api_key="k", base_url=server.url, max_retries=0)
    with ask(client, stream=True) as stream:
        next(iter(stream))
    with pytest.raises(anthropic.APIConnectionError):
        ask(client.with_options(base_url="http://127.0.0.1:1"))

    assert list(map(told, ledger())) == [(Decimal(0), ("free_host",))] * 2
    assert [row.usage_is_final for row in ledger()] == [False, False]
    (spent,) = claudetrace.Ledger(db).spend(by="operation")
    assert spent.lower_bound_calls == 0


def test_a_free_host_is_stopped_by_no_amount(start: Start, server: PlayServer, ledger: Rows, tmp_path: Path) -> None:
    """A budget that is spent lets pass what costs nothing, also without a bound; one of calls counts it."""
    spent = claudetrace.Budget("money", usd=0.000001, on_exceeded="block", unbounded="block", unpriced="block")
    calls = claudetrace.Budget("calls", max_calls=2, on_exceeded="block")
    start(config=config(tmp_path, '"127.0.0.1" = "free"'), budgets=[spent, calls])
    answers(server)
    client = anthropic.Anthropic(api_key="k", base_url=server.url, max_retries=0)
    search = [{"type": "web_search_20250305", "name": "web_search"}]
    ask(client)
    ask(client, tools=search)
    with pytest.raises(claudetrace.BudgetExceeded, match="calls"):
        ask(client)

    assert [row.outcome for row in ledger()] == ["ok", "ok", "error"]


def test_repricing_knows_what_the_host_was(
    start: Start, server: PlayServer, db: Path, ledger: Rows, tmp_path: Path
) -> None:
    """The row keeps what the settings said: with no settings, it is priced the same again."""
    from claudetrace._ledger._reprice import reprice

    start(config=config(tmp_path, '"127.0.0.1" = "free"'))
    answers(server)
    ask(anthropic.Anthropic(api_key="k", base_url=server.url))
    start(config=config(tmp_path, '"127.0.0.1" = { proxy = "bedrock", endpoint_scope = "regional" }'))
    ask(anthropic.Anthropic(api_key="k", base_url=server.url))
    before = ledger()
    claudetrace.uninstrument()

    assert sum(each.changed_rows for each in reprice(db, everything=True, apply=True)) == 0
    assert list(map(told, before)) == [(Decimal(0), ("free_host",)), (Decimal("0.0198"), ())]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ('"https://gateway.corp" = "free"', "without a scheme"),
        ('"gateway.corp/v1" = "free"', "without a scheme"),
        ('"gateway.corp:port" = "free"', "without a scheme"),
        ('gateway.corp = "free"', "put quotes around"),
        ('"gateway.corp" = "cheap"', '"free", "replays"'),
        ('"gateway.corp" = { proxy = "azure" }', "is not one of anthropic, bedrock"),
        ('"gateway.corp" = { proxy = "vertex", zone = "us" }', "knows no 'zone'"),
        ('"gateway.corp" = { proxy = ["vertex"] }', "is not one of"),
    ],
)
def test_what_no_host_can_be_is_refused(start: Start, tmp_path: Path, said: str, why: str) -> None:
    """A wrong line of the table raises at the start, with the way out."""
    with pytest.raises(claudetrace.ClaudetraceError, match=why):
        start(config=config(tmp_path, said))
