"""The clients of the clouds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import _bedrock
import anthropic

from claudetrace._demo import _wire
from claudetrace._demo._server import Exchange, PlayServer

from ._kit import ASK, SDK, Kind, Steps, each, entered, left, seen, some
from ._left import EVENTS
from ._plays import HEADERS, holding_from, json_answer, streamed
from ._rows import ANSWERED, BROKEN, MESSAGE, MODEL, STREAMED, TOLD, without

AWS = {"aws_access_key": "key", "aws_secret_key": "secret", "aws_region": "us-east-1"}


def client(name: str, **given: Any) -> Callable[..., Any]:
    """What makes a client of the class of this name, sync or async."""

    def made(url: str, is_async: bool, options: dict[str, Any]) -> Any:
        return getattr(anthropic, f"Async{name}" if is_async else name)(base_url=url, **given, **options)

    return made


CLIENTS = {
    "bedrock": ("AnthropicBedrock", client("AnthropicBedrock", **AWS)),
    "mantle": ("AnthropicBedrockMantle", client("AnthropicBedrockMantle", **AWS)),
    "vertex": (
        "AnthropicVertex",
        client("AnthropicVertex", region="us-east5", project_id="project", access_token="token"),
    ),
    "foundry": ("AnthropicFoundry", client("AnthropicFoundry", api_key="key")),
    "aws": ("AnthropicAWS", client("AnthropicAWS", api_key="key", aws_region="us-east-1", workspace_id="ws")),
    "google_cloud": (
        "AnthropicGoogleCloud",
        client("AnthropicGoogleCloud", project="project", workspace_id="ws", skip_auth=True),
    ),
}
PLATFORMS = {"mantle": "bedrock"}
ITS_MODEL = {"bedrock": "us.anthropic.claude-sonnet-4-6", "mantle": "anthropic.claude-sonnet-4-6"}
NOT_SCOPED = {"mantle": "endpoint_scope_unknown"}
"""Whose ids do not say whether the endpoint is a regional one."""


def ask(cloud: str) -> dict[str, Any]:
    return {**ASK, "model": ITS_MODEL.get(cloud, MODEL)}


def create(cloud: str, client: Any, server: PlayServer) -> Steps:
    return seen((yield client.messages.create(**ask(cloud))))


def create_beta(cloud: str, client: Any, server: PlayServer) -> Steps:
    return seen((yield client.beta.messages.create(**ask(cloud))))


def create_raw(cloud: str, client: Any, server: PlayServer) -> Steps:
    response = yield client.messages.with_raw_response.create(**ask(cloud))
    return seen((yield response.parse()))


def stream(cloud: str, client: Any, server: PlayServer) -> Steps:
    opened = yield client.messages.create(**ask(cloud), stream=True)
    return seen(opened), seen((yield each(opened)))


def stream_left(cloud: str, client: Any, server: PlayServer) -> Steps:
    opened = yield client.messages.create(**ask(cloud), stream=True)
    events = yield some(opened, 2)
    yield opened.close()
    return seen(events)


def stream_failing(cloud: str, client: Any, server: PlayServer) -> Steps:
    opened = yield client.messages.create(**ask(cloud), stream=True)
    return seen((yield each(opened)))


def stream_by_a_copy(cloud: str, client: Any, server: PlayServer) -> Steps:
    copy = client.with_options(max_retries=1)
    opened = yield copy.messages.create(**ask(cloud), stream=True)
    events = yield each(opened)
    # Of older SDKs' clouds, it has connections of its own.
    yield copy.close()
    return seen(events)


def helper(cloud: str, client: Any, server: PlayServer) -> Steps:
    manager = client.messages.stream(**ask(cloud))
    opened = yield entered(manager)
    words = yield each(opened.text_stream)
    yield left(manager)
    return words


def bedrock_streamed(*, more: Iterable[bytes] = (), events: Any = EVENTS, **exchange: Any) -> Exchange:
    """A stream as Bedrock frames it."""
    headers = {**HEADERS, "content-type": "application/vnd.amazon.eventstream"}
    return Exchange(path="*", headers=headers, body=[*_bedrock.frames(events), *more], **exchange)


def bedrock_failing() -> list[Exchange]:
    words = _wire.json_bytes({"message": "Too many tokens."})
    frame = _bedrock.frame(words, event_type="throttlingException", message_type="exception")
    return [bedrock_streamed(events=EVENTS[:4], more=[frame])]


def has(cloud: str) -> Callable[[], bool]:
    return lambda: hasattr(anthropic, CLIENTS[cloud][0])


def can_be_copied(cloud: str) -> Callable[[], bool]:
    """Foundry's client could not at first."""
    return lambda: has(cloud)() and (cloud != "foundry" or SDK >= (0, 125))


def kinds_of(cloud: str) -> list[Kind]:
    """Whole answers and streams of one cloud's client."""
    flags = (NOT_SCOPED[cloud],) if cloud in NOT_SCOPED else ()
    its = {"platform": PLATFORMS.get(cloud, cloud), "model_requested": ask(cloud)["model"], "cost_flags": flags}
    common: dict[str, Any] = {"client": CLIENTS[cloud][1], "needs": has(cloud)}
    plays_stream = bedrock_streamed if cloud == "bedrock" else lambda **more: streamed(path="*", **more)
    whole = [("create", create), ("beta.create", create_beta), ("with_raw_response", create_raw)]
    read = [("stream", stream), ("stream by a copy", stream_by_a_copy), (".stream()", helper)]
    return [
        *(
            Kind(
                name=f"{cloud}, {name}",
                call=partial(call, cloud),
                plays=lambda: [json_answer(path="*")],
                rows=[{**ANSWERED, **its}],
                **common,
            )
            for name, call in whole
        ),
        *(
            Kind(
                name=f"{cloud}, {name}",
                call=partial(call, cloud),
                plays=lambda: [plays_stream()],
                rows=[{**STREAMED, **its}],
                **{**common, "needs": can_be_copied(cloud) if call is stream_by_a_copy else has(cloud)},
            )
            for name, call in read
        ),
        Kind(
            name=f"{cloud}, stream left",
            call=partial(stream_left, cloud),
            plays=lambda: [plays_stream(before_chunk=holding_from(4))],
            rows=[{**BROKEN, **its, "cost_flags": ("partial_usage", *flags)}],
            **common,
        ),
    ]


def aws_answer() -> list[Exchange]:
    """With Bedrock's header for the request's id, and none of the API's."""
    body = _wire.json_bytes(MESSAGE)
    return [Exchange(path="*", headers={"content-type": "application/json", "x-amzn-requestid": "amzn-1"}, body=body)]


BEDROCK = {"platform": "bedrock", "model_requested": ITS_MODEL["bedrock"]}

KINDS = [
    *(kind for cloud in CLIENTS for kind in kinds_of(cloud)),
    Kind(
        name="bedrock, the id of its request",
        call=partial(create, "bedrock"),
        client=CLIENTS["bedrock"][1],
        plays=aws_answer,
        rows=[without(ANSWERED, *TOLD, **BEDROCK, request_id="amzn-1")],
    ),
    Kind(
        name="bedrock, a stream that fails",
        call=partial(stream_failing, "bedrock"),
        client=CLIENTS["bedrock"][1],
        plays=bedrock_failing,
        rows=[{**BROKEN, **BEDROCK, "outcome": "error", "error_type": "throttlingException"}],
        raises="APIStatusError" if SDK >= (1, 17) else "ValueError",
    ),
]
