"""Observes the body of a response: the caller gets its bytes untouched, and a watcher sees each chunk."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from functools import cache
from typing import Any, Protocol


class BodyWatcher(Protocol):
    """Is told how the body of a response passes. Only `feed` may raise."""

    feed: Callable[[bytes], None]
    """Takes each chunk. If it raises, `unreadable` is called, and `feed` not again."""
    times_s: list[float] | None
    """Where the time of each chunk goes, by `perf_counter`."""

    def unreadable(self, error: Exception) -> None: ...
    def ended(self, how: str, error: BaseException | None = None) -> None:
        """`how`: `read`, `closed`, `failed` or `dropped`. Only the first counts."""


class _Tee:
    """Replaces a response's stream. Has the same base classes, so every check of the HTTP client holds."""

    def __init__(self, inner: Any, watcher: BodyWatcher) -> None:
        self._inner = inner
        self._watcher = watcher
        # The SDK looks this up at every event; as an attribute it is found at once.
        self.stream_observer = getattr(inner, "stream_observer", None)

    def __getattr__(self, name: str) -> Any:
        # The HTTP client reads `elapsed` here. While a copy is being made there is no inner stream yet.
        if name in ("_inner", "_watcher"):
            raise AttributeError(name)
        return getattr(self._inner, name)

    def __del__(self) -> None:
        self._watcher.ended("dropped")


class _SyncTee(_Tee):
    def __iter__(self) -> Iterator[bytes]:
        watcher = self._watcher
        feed, times_s, clock = watcher.feed, watcher.times_s, time.perf_counter
        try:
            for chunk in self._inner:
                try:
                    if times_s is not None:
                        times_s.append(clock())
                    feed(chunk)
                except Exception as error:  # noqa: BLE001 - the caller's bytes pass whatever ours do
                    watcher.unreadable(error)
                    feed, times_s = _skip, None
                yield chunk
        except GeneratorExit:
            watcher.ended("closed")
            raise
        except BaseException as error:
            watcher.ended("failed", error)
            raise
        watcher.ended("read")

    def close(self) -> None:
        try:
            self._watcher.ended("closed")
        finally:
            self._inner.close()


class _AsyncTee(_Tee):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        watcher = self._watcher
        feed, times_s, clock = watcher.feed, watcher.times_s, time.perf_counter
        chunks = self._inner.__aiter__()
        try:
            async for chunk in chunks:
                try:
                    if times_s is not None:
                        times_s.append(clock())
                    feed(chunk)
                except Exception as error:  # noqa: BLE001 - the caller's bytes pass whatever ours do
                    watcher.unreadable(error)
                    feed, times_s = _skip, None
                yield chunk
            watcher.ended("read")
        except GeneratorExit:
            watcher.ended("closed")
            raise
        except BaseException as error:
            watcher.ended("failed", error)
            raise
        finally:
            # Close it in the task that read it: the event loop would do it later in another task.
            if isinstance(chunks, AsyncGenerator):
                await chunks.aclose()

    async def aclose(self) -> None:
        try:
            self._watcher.ended("closed")
        finally:
            await self._inner.aclose()


def _skip(_chunk: bytes) -> None:
    """Ignores the rest of a body that could not be read."""


def tee(http_response: Any, watcher: BodyWatcher) -> Any:
    """The stream that replaces the body of `http_response`, watched by `watcher`."""
    stream, module = http_response.stream, _http_module(type(http_response))
    return _kind(module, isinstance(stream, module.SyncByteStream), isinstance(stream, module.AsyncByteStream))(
        stream, watcher
    )


def _http_module(kind: type) -> Any:
    """The HTTP client of this response class: httpx or httpx2. A transport may have a subclass."""
    modules = (sys.modules.get(base.__module__.partition(".")[0]) for base in kind.__mro__)
    return next(module for module in modules if hasattr(module, "AsyncByteStream"))


@cache
def _kind(module: Any, is_sync: bool, is_async: bool) -> type[_Tee]:
    bases: list[type] = []
    if is_sync or not is_async:
        bases += [_SyncTee, module.SyncByteStream]
    if is_async or not is_sync:
        bases += [_AsyncTee, module.AsyncByteStream]
    # Our classes come first: the `close` of the HTTP client's does nothing.
    ours = [base for base in bases if issubclass(base, _Tee)]
    theirs = [base for base in bases if not issubclass(base, _Tee)]
    return type("Tee", (*ours, *theirs), {})
