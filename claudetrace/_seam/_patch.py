"""Put the seam into the anthropic SDK and take it out again.

Two methods tell of a call: `request` is its scope, `_process_response` gets each HTTP response. Two more say what
neither knows: `_build_request` which attempt it is, `_sleep_for_retry` why there is another. Where the SDK makes a
span of its own, `start_api_call_span` gives it.
"""

from __future__ import annotations

import sys
from contextvars import ContextVar, Token
from functools import lru_cache
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
from claudetrace._seam._live import LiveCall
from claudetrace._seam._middleware import is_of, marked_call, watch_rebuilt, with_mark
from claudetrace._seam._operations import operation_of
from claudetrace._seam._places import Function, Method
from claudetrace._seam._request import billed_to, code_execution_is_free, request_body, request_columns, user_of
from claudetrace._seam._response import watch
from claudetrace._seam._where import Where, terms_of, where_to

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from claudetrace._call import Row
    from claudetrace._hosts import Host
    from claudetrace._pricing import OwnRates, Terms
    from claudetrace._seam._live import Recorder

_BASE_CLIENT = "anthropic._base_client"

_call: ContextVar[LiveCall | None] = ContextVar("claudetrace_call", default=None)
_recorder: Recorder | None = None
_data_zone: str | None = None
_own_rates: OwnRates | None = None
_hosts: Mapping[str, Host] = {}


class _Wrapped(NamedTuple):
    """A place that is wrapped: what stood there, our wrapper, and the switch that puts it to sleep for good."""

    original: Any
    ours: Any
    switch: list[bool]


_installed: dict[tuple[Any, str], _Wrapped] = {}
_clients: list[tuple[ref[Any], str]] = []
"""The clients on which a method of another tool's is wrapped."""
_hooked = False


def install(
    recorder: Recorder,
    *,
    foundry_data_zone: str | None = None,
    own_rates: OwnRates | None = None,
    hosts: Mapping[str, Host] | None = None,
) -> None:
    """Every call from now on is told to `recorder`, also of clients that exist. The SDK may be imported later."""
    global _recorder, _data_zone, _own_rates, _hosts, _hooked
    _data_zone, _own_rates, _hosts = foundry_data_zone, own_rates, hosts or {}
    _terms.cache_clear()
    _recorder = recorder
    if _hooked:
        _wrap_all(sys.modules.get(_BASE_CLIENT))
    else:
        _hooked = True
        wrapt.register_post_import_hook(_wrap_all, _BASE_CLIENT)


def uninstall() -> None:
    """No call from now on is seen. A place that someone wrapped after us keeps both wrappers, ours asleep."""
    global _recorder
    _recorder = None
    for (owner, name), place in list(_installed.items()):
        if vars(owner).get(name) is place.ours:
            setattr(owner, name, place.original)
            del _installed[owner, name]
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
    """Whether a method that others have put on a client or its class leads past our wrapper on the SDK's class."""
    place = _installed.get((base, name))
    return place is not None and passes_by(vars(client).get(name), place.original, place.ours)


def _wrap(owner: Any, name: str, wrapper: Callable[..., Any]) -> None:
    present = vars(owner).get(name)
    before = _installed.get((owner, name))
    # The SDK's spans began in 1.14: before, there is nothing to wrap. Behind a wrapper of others, ours still works.
    if present is None or (before is not None and stands_behind(present, before.ours)):
        return
    if before is not None:
        # It may still be there, behind a wrapper that does not tell what it wraps: no call is seen twice.
        before.switch[0] = False
    switch = [True]
    kind = Method if isinstance(owner, type) else Function
    ours = kind(present, wrapper, enabled=lambda: switch[0] and _recorder is not None)
    setattr(owner, name, ours)
    _installed[owner, name] = _Wrapped(present, ours, switch)


def _begin(client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> LiveCall | None:
    """The call that begins, or `None` where it is none that a model answers. Raises nothing of ours."""
    recorder = _recorder
    if recorder is None:
        return None
    try:
        options = _options(args, kwargs)
        found = operation_of(options.method, options.url)
        if found is None:
            return None
        operation, model, batch_id = found
        body = request_body(options)
        columns = _shape(recorder, body)
        if model is not None:
            columns["model_requested"] = model
        columns["streamed"] = int(bool(kwargs.get("stream")) and not operation.lines)
        payer = billed_to(body) if "billing_policy" in body else None
        terms = _terms(where_to(client, options.url), operation.batch, payer)
        columns["platform"] = terms.platform
        tags = recorder.attribute(columns, client, user_of(body) if "metadata" in body else None)
        call = LiveCall(recorder, operation, columns, tags, terms)
        call.batch_id = batch_id
        if "tools" in body:
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


@lru_cache(maxsize=256)
def _terms(where: Where, batch: bool, payer: str | None) -> Terms:
    return terms_of(where, _hosts, batch=batch, payer=payer, data_zone=_data_zone).with_own_rates(_own_rates)


def _raised(call: LiveCall, client: Any, error: BaseException) -> None:
    try:
        call.ended_elsewhere = _call.get() is not call
        if "server_address" not in call.columns:
            call.columns["server_address"] = client.base_url.host
        call.raised(error)
    except Exception as failure:  # noqa: BLE001 - any failure of ours ends at the guard
        call.recorder.guard.caught("record a call that failed", failure)


def _returned(call: LiveCall, client: Any, result: Any) -> None:
    try:
        if getattr(client, "_middleware", None):
            watch_rebuilt(call, result)
        if "server_address" not in call.columns:
            call.columns["server_address"] = client.base_url.host
        call.returned()
    except Exception as failure:  # noqa: BLE001 - any failure of ours ends at the guard
        call.recorder.guard.caught("record a call", failure)


def _leave(token: Token[LiveCall | None]) -> None:
    try:
        _call.reset(token)
    except ValueError:
        # A coroutine that is closed or collected ends in whatever context does that, where nothing was set.
        return


def _demand(call: LiveCall, client: Any, options: Any) -> Any:
    """What the call asks of budgets, or `None` where it needs no leave."""
    try:
        if not call.recorder.is_limited(call):
            return None
        return call.recorder.demand(
            call, request_body(options), has_middleware=bool(getattr(client, "_middleware", None))
        )
    except Exception as error:  # noqa: BLE001 - any failure of ours ends at the guard
        call.recorder.guard.caught("ask the budgets for a call", error)
        return None


def _started(call: LiveCall, client: Any, options: Any) -> None:
    try:
        call.recorder.started(call, client, options)
    except Exception as error:  # noqa: BLE001 - any failure of ours ends at the guard
        call.recorder.guard.caught("begin a call", error)


def _options(args: Any, kwargs: Any) -> Any:
    return args[1] if len(args) > 1 else kwargs["options"]


def _request(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    call = _begin(instance, args, kwargs)
    if call is not None:
        options = _options(args, kwargs)
        try:
            if (demand := _demand(call, instance, options)) is not None:
                call.recorder.admit(call, demand)
            _started(call, instance, options)
            if getattr(instance, "_middleware", None):
                args, kwargs = with_mark(call, args, kwargs)
        except BaseException as error:
            _raised(call, instance, error)
            raise
    # Also when it is none: a middleware's other requests are no responses of the call around them.
    token = _call.set(call)
    try:
        result = wrapped(*args, **kwargs)
        if call is not None:
            _returned(call, instance, result)
    except BaseException as error:
        if call is not None:
            _raised(call, instance, error)
        raise
    finally:
        _leave(token)
    return result


async def _request_async(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    call = _begin(instance, args, kwargs)
    if call is not None:
        options = _options(args, kwargs)
        try:
            if (demand := _demand(call, instance, options)) is not None:
                await call.recorder.admit_async(call, demand)
            _started(call, instance, options)
            if getattr(instance, "_middleware", None):
                args, kwargs = with_mark(call, args, kwargs)
        except BaseException as error:
            _raised(call, instance, error)
            raise
    token = _call.set(call)
    try:
        result = await wrapped(*args, **kwargs)
        if call is not None:
            _returned(call, instance, result)
    except BaseException as error:
        if call is not None:
            _raised(call, instance, error)
        raise
    finally:
        _leave(token)
    return result


def _process_response(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    """Of the sync and the async client: the latter's coroutine is passed on."""
    marked = getattr(instance, "_middleware", None)
    call = (marked_call(kwargs.get("options")) if marked else None) or _call.get()
    if call is not None:
        try:
            if not marked or is_of(call, kwargs["options"]):
                watch(call, kwargs["response"])
        except Exception as error:  # noqa: BLE001 - any failure of ours ends at the guard
            call.recorder.guard.caught("watch a response", error)
    return wrapped(*args, **kwargs)


def _build_request(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    request = wrapped(*args, **kwargs)
    marked = getattr(instance, "_middleware", None)
    call = (marked_call(args[0] if args else kwargs.get("options")) if marked else None) or _call.get()
    if call is not None:
        try:
            # Not the header that says the same: a user's own header of that name would be believed.
            call.attempt(request, kwargs.get("retries_taken", 0))
            if call.awaits_span:
                call.recorder.no_native_span(call, instance.base_url, args[0] if args else kwargs["options"])
        except Exception as error:  # noqa: BLE001 - any failure of ours ends at the guard
            call.recorder.guard.caught("count an attempt", error)
    return request


def _sleep_for_retry(wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> Any:
    call = marked_call(kwargs.get("options")) or _call.get()
    if call is not None:
        try:
            # After an answer, what is being handled here may be an error of the user's own.
            if kwargs.get("response") is None and call.operation.may_bill_twice and is_abandoned(sys.exc_info()[1]):
                call.abandoned = True
        except Exception as error:  # noqa: BLE001 - any failure of ours ends at the guard
            call.recorder.guard.caught("see why a call is tried again", error)
    return wrapped(*args, **kwargs)


def _start_api_call_span(wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> Any:
    span = wrapped(*args, **kwargs)
    call = _call.get()
    # One that another has put there and that makes none: the SDK's, where it does, says that it is not to be recorded.
    if call is not None and not (span is None and call.awaits_span and is_foreign(wrapped)):
        try:
            _tracer, base_url, options = args[:3]
            if call.recorder.native_span(call, span, base_url, options):
                # Made current, a span that records nothing would hide ours from the HTTP client's.
                return None
        except Exception as error:  # noqa: BLE001 - any failure of ours ends at the guard
            call.recorder.guard.caught("join the SDK's span", error)
    return span
