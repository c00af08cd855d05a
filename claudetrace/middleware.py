"""Middleware for web apps, so that the Claude calls of each request carry tags from the request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from claudetrace._errors import ClaudetraceError
from claudetrace._guard import Guard
from claudetrace._tags import TagScope, tag_faults, tags_given

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping

    TagsOf = Callable[[Any], Mapping[str, object] | None]
    ASGIApp = Callable[[MutableMapping[str, Any], Callable[..., Any], Callable[..., Any]], Awaitable[None]]
    WSGIApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

__all__ = ["TagsASGI", "TagsWSGI"]


class _Scopes:
    """Makes each request's block of tags. One that cannot be told has none, which is logged once and counted."""

    def __init__(self, tags: TagsOf) -> None:
        if not callable(tags):
            raise ClaudetraceError(f"tags={tags!r:.80} cannot be used: give a callable from a request to its tags")
        self._tags = tags
        self._guard = Guard()

    def of(self, request: Any) -> TagScope:
        try:
            return TagScope(tags_given(self._tags(request)))
        except Exception as error:  # noqa: BLE001 - the user's code: the request goes on without tags
            tag_faults["request"] += 1
            self._guard.caught("tag a request", error)
            return TagScope({})


class TagsASGI:
    """Runs each request of `app` in a `tag` block, with its streamed answer and its background tasks.

    app.add_middleware(TagsASGI, tags=lambda scope: {"feature": scope["path"]})

    `tags` takes the ASGI scope of a request or WebSocket, and returns its tags, or `None`. For FastAPI, Starlette,
    Django and other ASGI apps. If it raises, the request goes on without tags.
    """

    def __init__(self, app: ASGIApp, tags: TagsOf) -> None:
        self.app = app
        self._scopes = _Scopes(tags)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Answers one request."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        with self._scopes.of(scope):
            await self.app(scope, receive, send)


class TagsWSGI:
    """Runs each request of `app` in a `tag` block, also while its answer is read and closed.

    app.wsgi_app = TagsWSGI(app.wsgi_app, tags=lambda environ: {"feature": environ["PATH_INFO"]})

    `tags` takes the WSGI environ of a request, and returns its tags, or `None`. For Flask, Django and other WSGI apps.
    If it raises, the request goes on without tags.
    """

    def __init__(self, app: WSGIApp, tags: TagsOf) -> None:
        self.app = app
        self._scopes = _Scopes(tags)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answers one request."""
        block = self._scopes.of(environ)
        with block:
            body = self.app(environ, start_response)
        # What the server may send by itself stays what it is; a list makes no more calls.
        is_file = isinstance(body, environ.get("wsgi.file_wrapper") or ())
        return body if is_file or isinstance(body, (list, tuple)) else _Body(body, block)


class _Body:
    """An answer that is made while it is read, each part of it inside the block."""

    def __init__(self, body: Iterable[bytes], block: TagScope) -> None:
        self._body = body
        self._block = block
        with block:
            self._parts = iter(body)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        with self._block:
            return next(self._parts)

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        if close is not None:
            with self._block:
                close()
