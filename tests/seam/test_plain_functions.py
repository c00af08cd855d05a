"""What works with a function of the SDK works with it while the meter runs."""

from __future__ import annotations

import asyncio
import copy
import inspect
import pickle
import subprocess
import sys
import typing
import weakref
from collections.abc import Callable
from typing import Any
from unittest import mock

import anthropic
import cloudpickle
import pytest
from anthropic import _base_client as base

import claudetrace

NAMES = (
    *(f"{owner}.{name}" for owner in ("SyncAPIClient", "AsyncAPIClient") for name in ("request", "_process_response")),
    *("BaseClient._build_request", "SyncAPIClient._sleep_for_retry", "AsyncAPIClient._sleep_for_retry"),
)
USES: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda it: [pickle.loads(pickle.dumps(it, protocol)) is it for protocol in range(6)],
    "pickle in Python": lambda it: pickle._loads(pickle._dumps(it)) is it,  # type: ignore[attr-defined]
    "cloudpickle": lambda it: cloudpickle.loads(cloudpickle.dumps(it)) is it,
    "copy": lambda it: (copy.copy(it) is it, copy.deepcopy([it])[0] is it),
    "signature": lambda it: (str(inspect.signature(it)), str(inspect.signature(it, eval_str=True))),
    "getfullargspec": inspect.getfullargspec,
    "getsource": inspect.getsource,
    "coroutine function": lambda it: (inspect.iscoroutinefunction(it), asyncio.iscoroutinefunction(it)),
    "function": lambda it: (inspect.isfunction(it), inspect.isroutine(it), callable(it)),
    "type hints": typing.get_type_hints,
    "overloads": lambda it: len(typing.get_overloads(it)),
    "names": lambda it: (it.__name__, it.__qualname__, it.__module__, it.__doc__, it.__defaults__, it.__kwdefaults__),
    "hash": lambda it: {it: 1}[it],
    "weakref": lambda it: weakref.ref(it)() is it,
    "autospec": lambda it: str(inspect.signature(mock.create_autospec(it))),
}


def place(name: str) -> Any:
    owner, _, attribute = name.partition(".")
    return getattr(getattr(base, owner), attribute)


class Sendable(anthropic.Anthropic):
    """A client that can be sent to another process."""

    def __reduce__(self) -> Any:
        return Sendable, ()


@pytest.mark.parametrize("use", USES)
def test_a_function_is_used_as_without_the_meter(use: str, start_meter: Any) -> None:
    """Each use of a function that we patch gives what it gives with the SDK alone."""
    claudetrace.uninstrument()
    bare = {name: USES[use](place(name)) for name in NAMES}
    start_meter()

    assert {name: USES[use](place(name)) for name in NAMES} == bare


def test_a_function_asked_of_the_class_is_one_thing(meter: Any) -> None:
    """The class gives the same function each time, also under the name of a class that inherits it."""
    assert base.SyncAPIClient.request is base.SyncAPIClient.request is anthropic.Anthropic.request
    meter.check()


@pytest.mark.parametrize("send", [lambda it: pickle.loads(pickle.dumps(it)), copy.copy, copy.deepcopy])
def test_a_method_goes_where_its_client_goes(send: Any, meter: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A method of a client that can be sent or copied arrives as the method of the client that arrives."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")

    arrived = send(Sendable().request)

    assert (type(arrived.__self__), inspect.ismethod(arrived), arrived) == (Sendable, True, arrived.__self__.request)
    meter.check()


def test_pickles_pass_between_processes_with_and_without_the_meter(meter: Any) -> None:
    """What was pickled under the meter is read where claudetrace is not installed, and the other way round."""
    told = (
        "import sys; sys.modules['claudetrace'] = None\n"
        "import pickle, anthropic._base_client as base\n"
        "arrived = pickle.loads(bytes.fromhex(sys.stdin.read()))\n"
        "functions = [base.SyncAPIClient.request, base.AsyncAPIClient.request]\n"
        "assert arrived == [*functions, *functions, getattr(base, 'start_api_call_span', None)]\n"
        "print(pickle.dumps(functions).hex())"
    )
    functions = [base.SyncAPIClient.request, base.AsyncAPIClient.request]
    by_cloudpickle = pickle.loads(cloudpickle.dumps(functions))
    sent = pickle.dumps([*functions, *by_cloudpickle, getattr(base, "start_api_call_span", None)])
    ran = subprocess.run(
        [sys.executable, "-c", told], input=sent.hex(), capture_output=True, text=True, check=False, timeout=60
    )

    assert ran.stderr == ""
    assert pickle.loads(bytes.fromhex(ran.stdout.strip())) == functions
    meter.check()
