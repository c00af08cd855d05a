"""Which `Host` a request may name: a page of another site that leads its name to this machine gets nothing."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, TypeAlias

Scope: TypeAlias = MutableMapping[str, Any]
App: TypeAlias = Callable[[Scope, Callable[..., Any], Callable[..., Any]], Awaitable[None]]


def only_for(app: App, allowed: Iterable[str]) -> App:
    """`app` for requests whose `Host` is `localhost`, the address they came to, or one of `allowed`; 400 for others."""
    names = {"localhost", *(host_of(name) for name in allowed)}

    async def checked(scope: Scope, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        if scope["type"] in ("http", "websocket"):
            asked = [host_of(value.decode("latin-1")) for name, value in scope["headers"] if name == b"host"]
            # A socket on all addresses tells here to which of them the request came.
            known = names | {host_of(str(scope["server"][0]))}
            if len(asked) != 1 or asked[0] not in known:
                await _refuse(scope, send, asked[0] if asked else "")
                return
        await app(scope, receive, send)

    return checked


def host_of(value: str) -> str:
    """The host of `host`, `host:port`, `[address]:port` or a bare IPv6 address, each host in one spelling."""
    text = value.strip().lower()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text.removesuffix(".")
    return str(getattr(address, "ipv4_mapped", None) or address)


async def _refuse(scope: Scope, send: Callable[..., Any], asked: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    told = f"The host {asked!r} is not served here. Start the dashboard with --allow-host and its name.\n"
    body = told.encode("ascii", "replace")
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 400, "headers": headers})
    await send({"type": "http.response.body", "body": body})
