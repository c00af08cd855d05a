"""`App`: OTLP over HTTP, as far as records need it, with limits on what a sender can make it hold or do."""

from __future__ import annotations

import asyncio
import hmac
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import uvicorn

from claudetrace._clock import monotonic
from claudetrace._collect._intake import LARGEST, Intake, Refused, Reply, Request
from claudetrace._errors import ClaudetraceError
from claudetrace._guard import Guard

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Container, MutableMapping
    from pathlib import Path

    from claudetrace._config import Settings

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]

VARIABLE = "CLAUDETRACE_COLLECT_TOKENS"
SHORTEST = 16
ANY = "*"
"""The service of a token for all: an OpenTelemetry collector's, which sends what others told it."""
LOGS = "/v1/logs"
HELD = 128 << 20
"""In bytes: what all requests may hold together while they wait."""
BODY_S = 10.0
"""How long a sender may take for its body."""
GROUP = 32
"""So many requests at most share one sync, so that none waits for long."""
SENDERS = 10_000
PROTOBUF = b"application/x-protobuf"
HEADERS_S = 10.0
LOOK_S = 2.0
MOST_CONNECTIONS = 2_000


class _All:
    def __contains__(self, _service: object) -> bool:
        return True


ALL: Container[object] = _All()


class Tokens:
    """What the variable says: `service=token` and further ones, with commas. Raises `ClaudetraceError`.

    A service may have several tokens, and a token several services: programs that share a ledger send for each other.
    """

    def __init__(self, said: str) -> None:
        self._services: dict[bytes, set[str]] = {}
        for pair in filter(None, map(str.strip, said.split(","))):
            service, _, token = pair.partition("=")
            if not service.strip() or len(token.strip()) < SHORTEST:
                raise ClaudetraceError(
                    f"{VARIABLE} holds service=token, with commas, and each token has {SHORTEST} characters or more; "
                    f"make one with: python -c 'import secrets; print(secrets.token_urlsafe())' ({service.strip()!r})"
                )
            self._services.setdefault(token.strip().encode(), set()).add(service.strip())

    def __bool__(self) -> bool:
        return bool(self._services)

    def services(self, authorization: str) -> Container[object] | None:
        """Those that the header `authorization` may send for, `None` where it says no token of ours. All where there
        are no tokens at all."""
        if not self._services:
            return ALL
        scheme, _, told = authorization.partition(" ")
        found = None
        for token, services in self._services.items():
            # Each of them, so that the time says nothing.
            if hmac.compare_digest(token, told.strip().encode()) and scheme.lower() == "bearer":
                found = services
        return ALL if found is not None and ANY in found else found


class Rates:
    """How many records a second each sender may send, over a minute."""

    def __init__(self, per_s: float) -> None:
        self._per_s, self._most = per_s, per_s * 60
        self._left: dict[object, tuple[float, float]] = {}

    def wait_s(self, sender: object) -> int:
        """How many seconds `sender` is to wait; 0 for not at all."""
        left = self._now(sender)
        return 0 if left > 0 else 1 + int(-left / self._per_s)

    def count(self, sender: object, records: int) -> None:
        if len(self._left) >= SENDERS:
            self._left.clear()
        self._left[sender] = self._now(sender) - records, monotonic()

    def _now(self, sender: object) -> float:
        left, at = self._left.get(sender, (self._most, 0.0))
        return min(self._most, left + (monotonic() - at) * self._per_s)


class App:
    """The application that uvicorn serves."""

    def __init__(self, intake: Intake, tokens: Tokens, rate: float) -> None:
        self._intake, self._tokens, self._rates = intake, tokens, Rates(rate)
        self._waiting: list[tuple[Request, asyncio.Future[Reply]]] = []
        self._taking: asyncio.Task[None] | None = None
        self._held = 0

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        place = scope["method"], scope["path"]
        if place == ("POST", LOGS):
            reply = await self._records(scope, receive)
        elif place == ("GET", "/healthz"):
            reply = Reply(200, "ok")
        elif place == ("GET", "/readyz"):
            reply = self._ready()
        else:
            reply = Reply(404, f"only POST {LOGS} is here")
        await _answer(reply, send, is_otlp=place == ("POST", LOGS))

    def _ready(self) -> Reply:
        intake = self._intake
        counts = f"{intake.taken:,} records taken, {intake.rejected:,} rejected"
        trouble = intake.trouble()
        return Reply(503, f"{trouble.text}; {counts}") if trouble else Reply(200, counts)

    async def _records(self, scope: MutableMapping[str, Any], receive: Receive) -> Reply:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        services = self._tokens.services(headers.get(b"authorization", b"").decode("latin-1"))
        if services is None:
            return Reply(401, "a token is needed: OTEL_EXPORTER_OTLP_LOGS_HEADERS=Authorization=Bearer%20…")
        sender = id(services) if self._tokens else (scope.get("client") or [""])[0]
        if wait_s := self._rates.wait_s(sender):
            return Reply(429, "more records than one sender may send", retry_after_s=wait_s)
        if trouble := self._intake.trouble():
            return trouble
        try:
            return await self._of_body(headers, receive, services, sender)
        except Refused as refused:
            return Reply(refused.status, str(refused), retry_after_s=refused.status in (408, 429))

    async def _of_body(
        self, headers: dict[bytes, bytes], receive: Receive, services: Container[object], sender: object
    ) -> Reply:
        kind, packed = headers.get(b"content-type", b"").partition(b";")[0].strip(), headers.get(b"content-encoding")
        if kind != PROTOBUF or packed not in (None, b"identity", b"gzip"):
            raise Refused(415, f"send {PROTOBUF.decode()}, plain or as gzip")
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_S):
                await self._read(receive, headers.get(b"content-length", b"0"), body)
            reply = await self._taken(Request(bytes(body), packed == b"gzip", services))
        except TimeoutError:
            raise Refused(408, f"the body did not come within {BODY_S:.0f} s") from None
        finally:
            self._held -= len(body)
        self._rates.count(sender, reply.taken + reply.rejected)
        return reply

    async def _read(self, receive: Receive, told: bytes, body: bytearray) -> None:
        too_large = Refused(413, f"the body is larger than {LARGEST:,} bytes; send fewer records at once")
        if told.isdigit() and int(told) > LARGEST:
            raise too_large
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Refused(400, "the sender is gone")
            chunk, more = message.get("body", b""), message.get("more_body", False)
            body += chunk
            self._held += len(chunk)
            if len(body) > LARGEST:
                raise too_large
            if self._held > HELD:
                raise Refused(429, "too much comes at once")

    async def _taken(self, request: Request) -> Reply:
        """Goes along with what else waits."""
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, future))
        if self._taking is None:
            self._taking = asyncio.create_task(self._take_all())
        return await future

    async def _take_all(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting[:GROUP], self._waiting[GROUP:]
                replies = await asyncio.to_thread(self._take, [request for request, _ in group])
                for (_, future), reply in zip(group, replies, strict=True):
                    if not future.done():
                        future.set_result(reply)
        finally:
            self._taking = None

    def _take(self, requests: list[Request]) -> list[Reply]:
        try:
            return self._intake.take(requests)
        except Exception as error:  # noqa: BLE001 - a fault of ours: the records are there still, where they came from
            self._intake.guard.caught("take records", error)
            return [Reply(503, "a fault of the receiver's, in its log", retry_after_s=1)] * len(requests)


async def _answer(reply: Reply, send: Send, *, is_otlp: bool) -> None:
    kind, body = b"text/plain; charset=utf-8", f"{reply.text}\n".encode()
    if is_otlp and reply.status == 200:
        kind, body = PROTOBUF, _partial_success(reply)
    headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
    if reply.retry_after_s:
        headers.append((b"retry-after", b"%d" % reply.retry_after_s))
    if reply.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if reply.status >= 400 and is_otlp:
        # Part of the body may be unread.
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _partial_success(reply: Reply) -> bytes:
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse

    response = ExportLogsServiceResponse()
    if reply.rejected:
        response.partial_success.rejected_log_records = reply.rejected
        response.partial_success.error_message = reply.text
    body: bytes = response.SerializeToString()
    return body


def tokens_of(host: str, *, is_loopback: bool) -> Tokens:
    """The tokens that the environment has. Raises `ClaudetraceError` where `host` needs some and there are none."""
    tokens = Tokens(os.environ.get(VARIABLE, ""))
    if not tokens and not is_loopback:
        raise ClaudetraceError(
            f"--listen {host} takes records from everybody who reaches it; give each service a token: "
            f'{VARIABLE}="desk=…,search=…", and put TLS in front'
        )
    return tokens


def serve(db: Path, settings: Settings, tokens: Tokens, listener: socket.socket, rate: float) -> None:
    """Takes records into the ledger `db` until the process is told to end."""
    intake = Intake(db, settings, Guard())
    config = uvicorn.Config(
        App(intake, tokens, rate), lifespan="off", log_level="warning", access_log=False, proxy_headers=False,
        server_header=False, limit_concurrency=MOST_CONNECTIONS, timeout_graceful_shutdown=10, ws="none",
    )  # fmt: skip
    try:
        with suppress(KeyboardInterrupt):
            asyncio.run(_until_the_end(uvicorn.Server(config), listener))
    finally:
        intake.close()


async def _until_the_end(server: uvicorn.Server, listener: socket.socket) -> None:
    looking = asyncio.create_task(_end_idle(server))
    try:
        await server.serve(sockets=[listener])
    finally:
        looking.cancel()


async def _end_idle(server: uvicorn.Server) -> None:
    """Closes connections on which for some time no request has been under way."""
    since: dict[Any, float] = {}
    while True:
        await asyncio.sleep(LOOK_S)
        idle = {each for each in server.server_state.connections if not _is_busy(each)}
        since = {each: since.get(each, monotonic()) for each in idle}
        for each, at in since.items():
            if monotonic() - at > HEADERS_S and each.transport is not None:
                each.transport.close()


def _is_busy(connection: Any) -> bool:
    cycle = connection.cycle
    return cycle is not None and not cycle.response_complete
