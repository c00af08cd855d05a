"""Plays recordings to the SDK and collects the rows that each leaves."""

from __future__ import annotations

import asyncio
import inspect
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import anthropic
from anthropic.types import Message, RawMessageStreamEvent

import claudetrace
from claudetrace._demo._server import Exchange, PlayServer

if TYPE_CHECKING:
    from collections.abc import Iterator

RECORDINGS = Path(__file__).resolve().parents[3] / "shared" / "recordings" / "recordings.jsonl"
CHUNK_BYTES = 173
"""Streams come in pieces that end anywhere."""

AWS = {"aws_access_key": "key", "aws_secret_key": "secret", "aws_region": "us-east-1"}


@dataclass(frozen=True, slots=True)
class Recording:
    """One exchange as it was recorded."""

    id: str
    method: str
    host: str
    path: str
    query: str
    request: dict[str, Any]
    status: int
    headers: dict[str, str]
    body: str

    @property
    def is_bedrock(self) -> bool:
        return self.host.startswith("bedrock-runtime.")

    @property
    def is_stream(self) -> bool:
        return self.headers["content-type"].startswith("text/event-stream")

    @property
    def operation(self) -> str | None:
        """The API's resource and verb, or `None` where no model answers."""
        if "prompt" in self.request:
            return "completions.create"
        last = self.path.rpartition("/")[2]
        return {
            "messages": "messages.create",
            "invoke": "messages.create",
            "count_tokens": "messages.count_tokens",
            "count-tokens": "messages.count_tokens",
            "complete": "completions.create",
        }.get(last)

    @property
    def exchange(self) -> Exchange:
        """The recorded answer."""
        body = self.body.encode()
        pieces = [body[at : at + CHUNK_BYTES] for at in range(0, len(body), CHUNK_BYTES)]
        headers = {"content-type": self.headers["content-type"], "request-id": f"req_{self.id}"}
        return Exchange(
            method=self.method,
            path="*",
            status=self.status,
            headers=headers,
            body=pieces if self.is_stream else body,
        )


def recordings() -> list[Recording]:
    """All of them, or none where the folder is absent."""
    if not RECORDINGS.exists():
        return []
    lines = [json.loads(line) for line in RECORDINGS.read_text().splitlines()]
    return [
        Recording(
            id=str(line["id"]),
            method=line["method"],
            host=line["host"],
            path=line["path"],
            query=line["query"] or "",
            request=line["request"] or {},
            status=line["status"],
            headers={name.lower(): value for name, value in line["headers"].items()},
            body=line["body"],
        )
        for line in lines
    ]


def replay(db: Path, *, is_async: bool) -> dict[str, list[claudetrace.Call]]:
    """The rows of each recording's call, by the recording's id."""
    claudetrace.uninstrument()
    with warnings.catch_warnings(), claudetrace.instrument(db=db) as meter:
        # The recordings are of models that are retired by now.
        warnings.simplefilter("ignore", DeprecationWarning)
        asyncio.run(_play(is_async=is_async))
        assert meter.flush(30)
        assert (dict(meter.health.failures), meter.health.lost) == ({}, 0)
    rows: dict[str, list[claudetrace.Call]] = {}
    for call in claudetrace.Ledger(db).calls(limit=10_000):
        rows.setdefault(call.tags["recording"], []).append(call)
    return rows


async def _play(*, is_async: bool) -> None:
    with PlayServer() as server:
        clients = _clients(server.url, is_async=is_async)
        for recording in recordings():
            server.add(recording.exchange)
            with claudetrace.tag(recording=recording.id):
                await _call(clients[recording.is_bedrock], recording)
        assert server.failures == []
        assert server.unplayed == []
        for client in clients.values():
            await _done(client.close())


def _clients(url: str, *, is_async: bool) -> dict[bool, Any]:
    plain = anthropic.AsyncAnthropic if is_async else anthropic.Anthropic
    bedrock = anthropic.AsyncAnthropicBedrock if is_async else anthropic.AnthropicBedrock
    common: dict[str, Any] = {"base_url": url, "max_retries": 0, "timeout": 60}
    return {False: plain(api_key="key", **common), True: bedrock(**AWS, **common)}


async def _call(client: Any, recording: Recording) -> None:
    try:
        for step in _steps(client, recording):
            await _read(await _done(step))
    except anthropic.APIStatusError as error:
        assert error.status_code == recording.status  # noqa: PT017 - most do not raise


def _steps(client: Any, recording: Recording) -> Iterator[Any]:
    """Makes the call by the SDK's own method where it has one, else by the path."""
    body = recording.request
    if recording.operation == "messages.create":
        resource = client.beta.messages if "beta=true" in recording.query else client.messages
        given = {name: body[name] for name in ("messages", "max_tokens")}
        more = {name: value for name, value in body.items() if name not in (*given, "model", "stream")}
        yield resource.create(model=_model(recording), stream=recording.is_stream, extra_body=more, **given)
    elif recording.method == "DELETE":
        yield client.delete(recording.path, cast_to=object)
    elif recording.is_stream:
        stream = anthropic.AsyncStream if inspect.iscoroutinefunction(client.post) else anthropic.Stream
        of = {"cast_to": RawMessageStreamEvent, "stream": True, "stream_cls": stream[RawMessageStreamEvent]}
        yield client.post(recording.path, body=body, **of)
    else:
        # A completion goes to this path on Bedrock too: the SDK that had completions sent it elsewhere afterwards.
        path = "/v1/complete" if "prompt" in body else recording.path
        url = f"{path}?{recording.query}" if recording.query else path
        yield client.post(url, body=body, cast_to=Message)


def _model(recording: Recording) -> str:
    if recording.is_bedrock:
        return unquote(recording.path.split("/")[2])
    return str(recording.request["model"])


async def _done(step: Any) -> Any:
    return await step if inspect.isawaitable(step) else step


async def _read(result: Any) -> None:
    if isinstance(result, anthropic.Stream):
        for _ in result:
            pass
    elif isinstance(result, anthropic.AsyncStream):
        async for _ in result:
            pass
