"""Batches: made, and their results read, read twice, and left."""

from __future__ import annotations

import json
from typing import Any

from claudetrace._demo import _wire
from claudetrace._demo._server import Exchange, PlayServer

from ._kit import ASK, Kind, Steps, each, seen, some
from ._plays import HEADERS, holding_from, json_answer
from ._rows import ANSWERED, CALL, COUNTS, MESSAGE, MODEL, TOLD, without

BATCH = "msgbatch_seam"
PATH = "/v1/messages/batches"
REQUESTS = [{"custom_id": f"c{number}", "params": ASK} for number in (1, 2)]
SECOND = _wire.message("Two.", COUNTS, message_id="msg_seam_2", model=MODEL)
LINES = [
    {"custom_id": "c1", "result": {"type": "succeeded", "message": MESSAGE}},
    {"custom_id": "c2", "result": {"type": "succeeded", "message": SECOND}},
    {"custom_id": "c3", "result": {"type": "errored", "error": _wire.error("invalid_request_error")}},
    {"custom_id": "c4", "result": {"type": "canceled"}},
    {"custom_id": "c5", "result": {"type": "expired"}},
]


def create(client: Any, server: PlayServer) -> Steps:
    return seen((yield client.messages.batches.create(requests=REQUESTS)))


def create_beta(client: Any, server: PlayServer) -> Steps:
    return seen((yield client.beta.messages.batches.create(requests=REQUESTS)))


def results(client: Any, server: PlayServer) -> Steps:
    decoder = yield client.messages.batches.results(BATCH)
    return seen(decoder), seen((yield each(decoder)))


def results_beta(client: Any, server: PlayServer) -> Steps:
    decoder = yield client.beta.messages.batches.results(BATCH)
    return seen(decoder), seen((yield each(decoder)))


def results_twice(client: Any, server: PlayServer) -> Steps:
    first = yield each((yield client.messages.batches.results(BATCH)))
    return seen(first), seen((yield each((yield client.messages.batches.results(BATCH)))))


def results_left(client: Any, server: PlayServer) -> Steps:
    decoder = yield client.messages.batches.results(BATCH)
    came = yield some(decoder, 1)
    yield decoder.http_response.aclose() if hasattr(decoder, "__anext__") else decoder.http_response.close()
    return seen(came)


def retrieve(client: Any, server: PlayServer) -> Steps:
    batch = yield client.messages.batches.retrieve(BATCH)
    return batch.id, batch.processing_status


def plays(lines: list[dict[str, Any]], *, times: int = 1, **exchange: Any) -> list[Exchange]:
    """A batch that has ended, and its results."""

    def ended(request: Any) -> bytes:
        return json.dumps(_wire.batch(BATCH, ended=True, succeeded=2, errored=1, url=request.server_url)).encode()

    headers = {**HEADERS, "content-type": "application/json"}
    body = [json.dumps(line).encode() + b"\n" for line in lines]
    jsonl = {**HEADERS, "content-type": "application/x-jsonl"}
    return [
        Exchange(method="GET", path=f"{PATH}/{BATCH}", headers=headers, body=ended, times=times),
        Exchange(method="GET", path=f"{PATH}/{BATCH}/results", headers=jsonl, body=body, times=times, **exchange),
    ]


def asked() -> list[Exchange]:
    return plays(LINES)[:1]


def made() -> list[Exchange]:
    return [json_answer(_wire.batch(BATCH, ended=False, succeeded=2), path=PATH)]


ITS_SHAPE = ("model_requested", "max_tokens", "message_count", "image_count", "document_count")
ITS_CALL = without(CALL, *ITS_SHAPE)
CREATED = {
    **ITS_CALL,
    **TOLD,
    "operation": "messages.batches.create",
    "outcome": "ok",
    "http_status": 200,
    "usage_is_final": True,
    "batch_id": BATCH,
    "cost_flags": (),
}
RESULT = {
    **without(ANSWERED, *ITS_SHAPE),
    "operation": "messages.batches.result",
    "batch_id": BATCH,
    "custom_id": "c1",
}
WITHOUT_MESSAGE = {
    **CREATED,
    "operation": "messages.batches.result",
    "cost_flags": ("no_usage",),
    "outcome": "error",
}
ROWS = [
    RESULT,
    {**RESULT, "custom_id": "c2", "message_id": "msg_seam_2"},
    {**WITHOUT_MESSAGE, "custom_id": "c3", "error_type": "invalid_request_error"},
    {**WITHOUT_MESSAGE, "custom_id": "c4", "outcome": "cancelled"},
    {**WITHOUT_MESSAGE, "custom_id": "c5", "error_type": "expired"},
]

KINDS = [
    Kind(name="batches.create", call=create, plays=made, rows=[CREATED]),
    Kind(name="beta.batches.create", call=create_beta, plays=made, rows=[CREATED]),
    Kind(name="batches.retrieve", call=retrieve, plays=asked, rows=[]),
    Kind(name="batches.results", call=results, plays=lambda: plays(LINES), rows=ROWS),
    Kind(name="beta.batches.results", call=results_beta, plays=lambda: plays(LINES), rows=ROWS),
    Kind(name="batches.results, twice", call=results_twice, plays=lambda: plays(LINES, times=2), rows=ROWS),
    Kind(
        name="batches.results, left",
        call=results_left,
        plays=lambda: plays(LINES, before_chunk=holding_from(2)),
        rows=ROWS[:2],
    ),
    Kind(name="batches.results, of none", call=results, plays=lambda: plays([]), rows=[]),
]
