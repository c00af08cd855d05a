"""Wraps the anthropic SDK so that every call is recorded, and unwraps it again.

`request` of the SDK's base clients lasts as long as a call, and `_process_response` receives each HTTP response.
`_build_request` knows which attempt a request is, and `_sleep_for_retry` why another one follows. Where the SDK makes a
span of its own, `start_api_call_span` returns it.
"""

from __future__ import annotations

import sys
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import ref

import wrapt

from claudetrace._seam._bypass import (
    clients,
    is_foreign,
    passes_by,
    stands_behind,
    subclasses,
    unwrap_client,
    wrap_client,
)
from claudetrace._seam._errors import is_abandoned
from claudetrace._seam._live import LiveCall, guarded
from claudetrace._seam._middleware import is_of, marked_call, watch_rebuilt, with_mark
from claudetrace._seam._operations import operation_of
from claudetrace._seam._request import billed_to, code_execution_is_free, request_body, request_columns, user_of
from claudetrace._seam._response import LiveResponse
from claudetrace._seam._where import TermsOfCalls, terms_of_calls, where_to
from claudetrace._seam._wrappers import Function, Method

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from claudetrace._call import Row
    from claudetrace._seam._live import Recorder

_BASE_CLIENT = "anthropic._base_client"

_call: ContextVar[LiveCall | None] = ContextVar("claudetrace_call", default=None)
_recorder: Recorder | None = None
_terms: TermsOfCalls = terms_of_calls()


class _Wrapped(NamedTuple):
    """A wrapped method or function: the original, our wrapper, and the switch, which is empty while it does nothing."""

    original: Any
    ours: Any
    switch: list[None]


_installed: dict[tuple[Any, str], _Wrapped] = {}
_clients: list[tuple[ref[Any], str]] = []
"""The clients on which we wrapped another tool's method."""
_hooked = False


def install(recorder: Recorder, terms: TermsOfCalls) -> None:
    """Reports every call from now on to `recorder`, also of clients that exist. The SDK may be imported later."""
    global _recorder, _terms, _hooked
    _recorder, _terms = recorder, terms
    if _hooked:
        _wrap_all(sys.modules.get(_BASE_CLIENT))
    else:
        _hooked = True
        wrapt.register_post_import_hook(_wrap_all, _BASE_CLIENT)


def uninstall() -> None:
    """Stops reporting calls. Where someone wrapped a method after us, both wrappers stay, and ours does nothing."""
    global _recorder
    _recorder = None
    for (owner, name), place in list(_installed.items()):
        if vars(owner).get(name) is place.ours:
            setattr(owner, name, place.original)
            del _installed[owner, name]
        else:
            place.switch.clear()
    for client, name in _clients:
        unwrap_client(client(), name)
    _clients.clear()


def _wrap_all(module: Any) -> None:
    if module is None or _recorder is None:
        return
    places = (
        (module.SyncAPIClient, "request", _request),
        (module.AsyncAPIClient, "request", _request_async),
        (module.SyncAPIClient, "_process_response", _process_response),
        (module.AsyncAPIClient, "_process_response", _process_response),
        (module.BaseClient, "_build_request", _build_request),
        (module.SyncAPIClient, "_sleep_for_retry", _sleep_for_retry),
        (module.AsyncAPIClient, "_sleep_for_retry", _sleep_for_retry),
    )
    for place in (*places, (module, "start_api_call_span", _start_api_call_span)):
        _wrap(*place)
    for base, name, wrapper in places:
        for client in subclasses(base):
            if _passes_by(client, base, name):
                _wrap(client, name, wrapper)
    for client in clients(module.BaseClient):
        for base, name, wrapper in places:
            if isinstance(client, base) and _passes_by(client, base, name):
                wrap_client(client, name, wrapper, lambda: _recorder is not None)
                _clients.append((ref(client), name))


def _passes_by(client: Any, base: Any, name: str) -> bool:
    """Whether another tool replaced this method on a client or its class, so that it bypasses our wrapper."""
    place = _installed.get((base, name))
    return place is not None and passes_by(vars(client).get(name), place.original, place.ours)


def _wrap(owner: Any, name: str, wrapper: Callable[..., Any]) -> None:
    present = vars(owner).get(name)
    before = _installed.get((owner, name))
    # Before version 1.14 the SDK makes no spans: there is nothing to wrap.
    if present is None:
        return
    if before is not None and stands_behind(present, before.ours):
        # Behind another tool's wrapper, ours works.
        before.switch[:] = [None]
        return
    if before is not None:
        # It may still be there, behind a wrapper that hides what it wraps: it must not report a call twice.
        before.switch.clear()
    switch = [None]
    kind = Method if isinstance(owner, type) else Function
    ours = kind(present, wrapper, enabled=switch.__len__)  # type: ignore[arg-type]  # any truth will do
    setattr(owner, name, ours)
    _installed[owner, name] = _Wrapped(present, ours, switch)


def _begin(client: Any, options: Any, stream: object) -> LiveCall | None:
    """The call that begins, or `None` for a request that no model answers. Never raises an error of ours."""
    recorder = _recorder
    if recorder is None:
        return None
    try:
        found = operation_of(options.method, options.url)
        if found is None:
            return None
        operation, model, batch_id = found
        body = request_body(options)
        columns = _shape(recorder, body)
        if model is not None:
            columns["model_requested"] = model
        columns["streamed"] = int(bool(stream) and not operation.lines)
        payer = billed_to(body) if "billing_policy" in body else None
        where = where_to(client, options.url)
        terms = _terms(where, operation.batch, payer)
        columns["platform"] = terms.platform
        tags = recorder.attribute(columns, client, user_of(body) if "metadata" in body else None)
        call = LiveCall(recorder, operation, columns, tags, terms, where)
        call.batch_id = batch_id
        call.has_middleware = bool(getattr(client, "_middleware", None))
        if columns.get("tools_offered"):
            call.code_execution_is_free = code_execution_is_free(body)
    except Exception as error:  # noqa: BLE001 - any failure of ours ends at the guard
        recorder.guard.caught("begin a call", error)
        return None
    return call


def _shape(recorder: Recorder, body: Any) -> Row:
    try:
        return request_columns(body)
    except Exception as error:  # noqa: BLE001 - a request that nobody can read is still sent, and billed
        recorder.guard.caught("read the shape of a request", error)
        return {}


@guarded("record a call that failed")
def _raised(call: LiveCall, error: BaseException) -> None:
    call.ended_elsewhere = _call.get() is not call
    call.raised(error)


@guarded("record a call")
def _returned(call: LiveCall, result: Any) -> None:
    if call.has_middleware:
        watch_rebuilt(call, result)
    call.returned()


def _leave(token: Token[LiveCall | None]) -> None:
    try:
        _call.reset(token)
    except ValueError:
        # A coroutine that is closed or collected ends in whatever context does that, where nothing was set.
        return


@guarded("ask the budgets for a call")
def _demand(call: LiveCall, options: Any) -> Any:
    """What to reserve for the call, or `None` where no budget may stop it."""
    return call.recorder.demand(call, request_body(options), has_middleware=call.has_middleware)


@guarded("begin a call")
def _started(call: LiveCall, client: Any, options: Any) -> None:
    call.recorder.started(call, client, options)


def _options(args: Any, kwargs: Any) -> Any:
    return args[1] if len(args) > 1 else kwargs.get("options")


def _sendable(call: LiveCall, client: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """The arguments of `request`, once the call has its span, and the mark that middleware needs. Never raises."""
    if call.recorder.has_spans:
        _started(call, client, _options(args, kwargs))
    return with_mark(call, args, kwargs) if call.has_middleware else (args, kwargs)


def _request(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    options = _options(args, kwargs)
    call = _begin(instance, options, kwargs.get("stream"))
    # Set to `None` as well: a middleware's other requests are not part of the call around them.
    token = _call.set(call)
    try:
        if call is None:
            return wrapped(*args, **kwargs)
        if call.recorder.has_limits() and _demand(call, options) is not None:
            call.recorder.admit(call)
        args, kwargs = _sendable(call, instance, args, kwargs)
        result = wrapped(*args, **kwargs)
        _returned(call, result)
    except BaseException as error:
        if call is not None:
            _raised(call, error)
        raise
    finally:
        _leave(token)
    return result


async def _request_async(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    options = _options(args, kwargs)
    call = _begin(instance, options, kwargs.get("stream"))
    token = _call.set(call)
    try:
        if call is None:
            return await wrapped(*args, **kwargs)
        if call.recorder.has_limits() and _demand(call, options) is not None:
            await call.recorder.admit_async(call)
        args, kwargs = _sendable(call, instance, args, kwargs)
        result = await wrapped(*args, **kwargs)
        _returned(call, result)
    except BaseException as error:
        if call is not None:
            _raised(call, error)
        raise
    finally:
        _leave(token)
    return result


def _call_of(client: Any, options: Any) -> LiveCall | None:
    """The call that `client` makes a request for: the one around it, unless a middleware asks later or elsewhere."""
    return (marked_call(options) if getattr(client, "_middleware", None) else None) or _call.get()


def _process_response(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    """Serves both clients: the coroutine of the async one is returned as it is."""
    if (call := _call_of(instance, kwargs.get("options"))) is not None:
        _responded(call, kwargs)
    return wrapped(*args, **kwargs)


@guarded("watch a response")
def _responded(call: LiveCall, given: Mapping[str, Any]) -> None:
    response = given["response"]
    if not 200 <= response.status_code < 300:
        return  # It failed: it is not billed, and the call goes on.
    if not call.has_middleware or is_of(call, given["options"]):
        call.responded(LiveResponse(call, response))


def _build_request(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    request = wrapped(*args, **kwargs)
    options = args[0] if args else kwargs.get("options")
    if (call := _call_of(instance, options)) is not None:
        # Not from the header that says the same: users can set it themselves.
        _attempted(call, options, request, kwargs.get("retries_taken", 0))
    return request


@guarded("count an attempt")
def _attempted(call: LiveCall, options: Any, request: Any, retries_taken: int) -> None:
    call.attempt(request, retries_taken)
    if call.awaits_span:
        call.recorder.no_native_span(call, options)


def _sleep_for_retry(wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> Any:
    if (call := marked_call(kwargs.get("options")) or _call.get()) is not None:
        _given_up(call, kwargs.get("response"), sys.exc_info()[1])
    return wrapped(*args, **kwargs)


@guarded("see why a call is tried again")
def _given_up(call: LiveCall, response: Any, error: BaseException | None) -> None:
    # After an answer, what is being handled may be an error of the user's own.
    if response is None and call.operation.may_bill_twice and is_abandoned(error):
        call.abandoned = True


def _start_api_call_span(wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> Any:
    span = wrapped(*args, **kwargs)
    call = _call.get()
    # Another tool's function in this place may make no span. The SDK's own returns one that records nothing instead.
    if call is not None and not (span is None and call.awaits_span and is_foreign(wrapped)) and _join(call, span, args):
        # If the SDK made it current, a span that records nothing would become the parent of the HTTP client's.
        return None
    return span


@guarded("join the SDK's span")
def _join(call: LiveCall, span: Any, args: Any) -> bool:
    return call.recorder.native_span(call, span, args[2])
