"""Calls whose answer comes whole."""

from __future__ import annotations

from typing import Any

import anthropic
from pydantic import BaseModel

from claudetrace._demo import _wire
from claudetrace._demo._server import PlayServer

from ._kit import ASK, Both, Kind, Steps, each, entered, is_async, left, seen
from ._plays import PACKERS, json_answer, packed
from ._rows import ANSWERED, CALL, MESSAGE, MODEL, TOLD, without


class Greeting(BaseModel):
    """What `parse` makes of the answer."""

    words: str


STRUCTURED = {**MESSAGE, "content": [_wire.text('{"words": "Hello."}')]}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGVsbG8="}}
DOCUMENT = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "hello"}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [IMAGE]}
SHAPED = {
    **ASK,
    "messages": [
        {"role": "user", "content": [IMAGE, DOCUMENT, {"type": "text", "text": "What is it?"}]},
        {"role": "assistant", "content": [_wire.tool_use("look", {}, call_id="toolu_1")]},
        {"role": "user", "content": [RESULT]},
    ],
    "tools": [{"name": "look", "input_schema": {"type": "object"}}],
    "metadata": {"user_id": "user-7"},
}
COUNTED = {name: value for name, value in ASK.items() if name != "max_tokens"}
PATH = "/v1/messages"


def create(client: Any, server: PlayServer) -> Steps:
    return seen((yield client.messages.create(**ASK)))


def create_shaped(client: Any, server: PlayServer) -> Steps:
    return seen((yield client.messages.create(**SHAPED)))


def create_beta(client: Any, server: PlayServer) -> Steps:
    return seen((yield client.beta.messages.create(**ASK, betas=["files-api-2025-04-14"])))


def create_by_copy(client: Any, server: PlayServer) -> Steps:
    copy = client.with_options(timeout=30).with_options(default_headers={"x-mine": "1"})
    return seen((yield copy.messages.create(**ASK)))


def create_extra_body(client: Any, server: PlayServer) -> Steps:
    return seen((yield client.messages.create(**ASK, extra_body={"max_tokens": 99})))


def parse(client: Any, server: PlayServer) -> Steps:
    parsed = yield client.messages.parse(**ASK, output_format=Greeting)
    return seen(parsed), seen(parsed.parsed_output)


def parse_beta(client: Any, server: PlayServer) -> Steps:
    parsed = yield client.beta.messages.parse(**ASK, output_format=Greeting)
    return seen(parsed), seen(parsed.parsed_output)


def raw(client: Any, server: PlayServer) -> Steps:
    response = yield client.messages.with_raw_response.create(**ASK)
    message = yield response.parse()
    again = yield response.parse()
    return seen(response), seen(message), again is message, response.headers["request-id"], response.retries_taken


def _streaming(client: Any, read: Any) -> Steps:
    manager = client.messages.with_streaming_response.create(**ASK)
    response = yield entered(manager)
    value = yield read(response)
    yield left(manager)
    return seen(response), seen(value), response.is_closed


def streaming_parse(client: Any, server: PlayServer) -> Steps:
    return _streaming(client, lambda response: response.parse())


def streaming_json(client: Any, server: PlayServer) -> Steps:
    return _streaming(client, lambda response: response.json())


def streaming_text(client: Any, server: PlayServer) -> Steps:
    return _streaming(client, lambda response: response.text())


def streaming_lines(client: Any, server: PlayServer) -> Steps:
    return _streaming(client, lambda response: each(response.iter_lines()))


def streaming_bytes(client: Any, server: PlayServer) -> Steps:
    return _streaming(client, lambda response: each(response.iter_bytes(64)))


def streaming_wire_bytes(client: Any, server: PlayServer) -> Steps:
    def of_http(response: Any) -> Both:
        http = response.http_response
        return each(http.aiter_raw() if is_async(client) else http.iter_raw())

    return _streaming(client, of_http)


def streaming_unread(client: Any, server: PlayServer) -> Steps:
    return _streaming(client, lambda response: response.headers["request-id"])


def count_tokens(client: Any, server: PlayServer) -> Steps:
    return seen((yield client.messages.count_tokens(**COUNTED)))


def count_tokens_beta(client: Any, server: PlayServer) -> Steps:
    return seen((yield client.beta.messages.count_tokens(**COUNTED)))


def completion(client: Any, server: PlayServer) -> Steps:
    return seen((yield client.completions.create(**PROMPT)))


def completion_streamed(client: Any, server: PlayServer) -> Steps:
    stream = yield client.completions.create(**PROMPT, stream=True)
    return seen(stream), seen((yield each(stream)))


def post(client: Any, server: PlayServer) -> Steps:
    return seen((yield client.post("/v1/messages", body=ASK, cast_to=anthropic.types.Message)))


def post_as_response(client: Any, server: PlayServer) -> Steps:
    http = anthropic._base_client.__dict__.get("httpx2") or anthropic._base_client.__dict__["httpx"]
    response = yield client.post("/v1/messages", body=ASK, cast_to=http.Response)
    return seen(response), response.content, response.is_closed


def models(client: Any, server: PlayServer) -> Steps:
    return seen((yield client.models.retrieve("claude-sonnet-4-5")))


PROMPT = {"model": "claude-2.1", "max_tokens_to_sample": 9, "prompt": "\n\nHuman: hello\n\nAssistant:"}
COMPLETED = {"type": "completion", "id": "compl_1", "model": "claude-2.1", "completion": " Hi", "stop_reason": None}
LAST = {**COMPLETED, "completion": "", "stop_reason": "stop_sequence"}
COMPLETION = {
    **without(CALL, "message_count", "image_count", "document_count"),
    **TOLD,
    "operation": "completions.create",
    "model_requested": "claude-2.1",
    "model": "claude-2.1",
    "max_tokens": 9,
    "outcome": "ok",
    "http_status": 200,
    "usage_is_final": True,
    "message_id": "compl_1",
    "stop_reason": "stop_sequence",
    "cost_flags": ("no_usage",),
}
COUNT = {
    **without(CALL, "max_tokens"),
    **TOLD,
    "operation": "messages.count_tokens",
    "outcome": "ok",
    "http_status": 200,
    "usage_is_final": True,
    "usage": {"input_tokens": 77},
    "cost_flags": (),
}
INFO = {"id": MODEL, "type": "model", "display_name": "Sonnet", "created_at": "2025-09-29T00:00:00Z"}
UNREAD = without(
    ANSWERED,
    *("input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens", "output_tokens"),
    *("thinking_tokens", "web_search_requests", "service_tier", "inference_geo"),
    *("usage", "model", "message_id", "stop_reason", "tool_calls"),
    outcome="cancelled",
    usage_is_final=False,
    cost_flags=("no_usage",),
)
SHAPE = {
    "message_count": 3,
    "image_count": 2,
    "document_count": 1,
    "tools_offered": 1,
    "user_id": "user-7",
}


def has_completions() -> bool:
    return hasattr(anthropic.Anthropic, "completions")


def can_decode(encoding: str) -> bool:
    """Whether the HTTP client of this SDK can unpack it."""
    http = anthropic._base_client.__dict__.get("httpx2") or anthropic._base_client.__dict__["httpx"]
    return encoding.removeprefix("raw-") in http._decoders.SUPPORTED_DECODERS


def _counting() -> list[Any]:
    return [json_answer({"input_tokens": 77}, path=f"{PATH}/count_tokens")]


def _completing(body: dict[str, Any]) -> list[Any]:
    return [json_answer(body, path="/v1/complete")]


def _completing_streamed() -> list[Any]:
    from claudetrace._demo._server import Exchange

    from ._plays import HEADERS

    chunks = _wire.sse([COMPLETED, {"type": "ping"}, LAST])
    return [Exchange(path="/v1/complete", body=chunks, headers={**HEADERS, "content-type": "text/event-stream"})]


KINDS = [
    *(
        Kind(name=name, call=call, plays=lambda: [json_answer()], rows=[ANSWERED])
        for name, call in {
            "create": create,
            "beta.create": create_beta,
            "create by a copy of a copy": create_by_copy,
            "with_raw_response": raw,
            "with_streaming_response, parse": streaming_parse,
            "with_streaming_response, json": streaming_json,
            "with_streaming_response, text": streaming_text,
            "with_streaming_response, iter_lines": streaming_lines,
            "with_streaming_response, iter_bytes": streaming_bytes,
            "with_streaming_response, the wire's bytes": streaming_wire_bytes,
            "client.post": post,
            "client.post, as an HTTP response": post_as_response,
        }.items()
    ),
    Kind(
        name="with_streaming_response, unread",
        call=streaming_unread,
        plays=lambda: [json_answer()],
        rows=[UNREAD],
    ),
    Kind(
        name="create with images, a document, a tool and a user",
        call=create_shaped,
        plays=lambda: [json_answer()],
        rows=[{**ANSWERED, **SHAPE}],
    ),
    Kind(
        name="create with extra_body",
        call=create_extra_body,
        plays=lambda: [json_answer()],
        rows=[{**ANSWERED, "max_tokens": 99}],
    ),
    Kind(
        name="parse",
        call=parse,
        plays=lambda: [json_answer(STRUCTURED)],
        rows=[ANSWERED],
        needs=lambda: hasattr(anthropic.resources.Messages, "parse"),
    ),
    Kind(name="beta.parse", call=parse_beta, plays=lambda: [json_answer(STRUCTURED)], rows=[ANSWERED]),
    Kind(name="count_tokens", call=count_tokens, plays=_counting, rows=[COUNT]),
    Kind(name="beta.count_tokens", call=count_tokens_beta, plays=_counting, rows=[COUNT]),
    Kind(
        name="completions",
        call=completion,
        plays=lambda: _completing({**COMPLETED, "stop_reason": "stop_sequence"}),
        rows=[COMPLETION],
        needs=has_completions,
    ),
    Kind(
        name="completions, streamed",
        call=completion_streamed,
        plays=_completing_streamed,
        rows=[{**COMPLETION, "streamed": True}],
        needs=has_completions,
    ),
    Kind(name="models", call=models, plays=lambda: [json_answer(INFO, method="GET", path="/v1/models/*")], rows=[]),
    *(
        Kind(
            name=f"{call.__name__}, {encoding}",
            call=call,
            plays=lambda encoding=encoding: [packed(json_answer, encoding)],
            rows=[ANSWERED],
            needs=lambda encoding=encoding: can_decode(encoding),
        )
        for encoding in PACKERS
        for call in (create, streaming_parse)
    ),
]
