"""Other tools that watch the same SDK: seen by their wrappers, told once, and known to `doctor`."""

from __future__ import annotations

import logging
import sys
from types import ModuleType

import anthropic
import pytest
import wrapt
from anthropic.resources.messages import AsyncMessages, Messages
from cli._programs import CALL, Shell

from claudetrace._telemetry import _other_tools

SENTRY = f"""
import sentry_sdk
from claudetrace._telemetry import _other_tools
from sentry_sdk.integrations.anthropic import AnthropicIntegration
# Named, for where LangChain is there too Sentry leaves the SDK to that.
sentry_sdk.init("http://k@127.0.0.1:9/1", default_integrations=False, integrations=[AnthropicIntegration()])
{CALL}
print([other.name for other in _other_tools.active()])
"""


def function_of(module: str, name: str = "wrapper"):
    """A wrapper as the module of another tool would define it."""
    made = ModuleType(module)
    exec(f"def {name}(wrapped, instance, args, kwargs): return wrapped(*args, **kwargs)", vars(made))
    return getattr(made, name)


@pytest.mark.parametrize("owner", [Messages, AsyncMessages], ids=lambda owner: owner.__name__)
@pytest.mark.parametrize("other", [o for o in _other_tools.OTHERS if o.alone], ids=lambda other: other.package)
def test_a_wrapper_tells_whose_it_is(monkeypatch, owner, other):
    """Each of those that are there for nothing else is named, one around another too, and gone with its wrapper."""
    own = wrapt.FunctionWrapper(vars(owner)["create"], function_of(f"{other.module}.patch"))
    monkeypatch.setattr(owner, "create", wrapt.FunctionWrapper(own, function_of("somebody.else")))
    found = _other_tools.active()
    monkeypatch.undo()

    assert (found, _other_tools.active()) == ([other], [])


def test_one_client_alone_may_be_watched(client, monkeypatch):
    """What stands before one client's own `request` is seen where the client is given."""
    watched = wrapt.FunctionWrapper(client.request, function_of("logfire._internal.integrations"))
    monkeypatch.setattr(client, "request", watched, raising=False)

    assert ([other.name for other in _other_tools.active(client)], _other_tools.active()) == (["Logfire"], [])


def test_a_real_sentry_is_seen(server, tmp_path):
    """Sentry's own integration, as it is installed, is named."""
    shell = Shell(tmp_path, server.url)
    shell.write("app.py", SENTRY)
    ran = shell.run(sys.executable, "app.py")

    assert (ran.returncode, ran.stdout.strip()) == (0, "['Sentry']"), ran.stderr


def test_our_own_wrappers_are_nobody_elses(start, client):
    """With the meter on and nobody else there, nobody is named."""
    start()

    assert _other_tools.active(client) == []


def test_what_is_told_has_the_way_out(monkeypatch, caplog):
    """A warning for each tool, with how to have one span a call."""
    owner = anthropic.resources.beta.messages.Messages
    wrapper = function_of("openinference.instrumentation.anthropic._wrappers")
    monkeypatch.setattr(owner, "create", wrapt.FunctionWrapper(vars(owner)["create"], wrapper))
    with caplog.at_level(logging.WARNING, "claudetrace"):
        _other_tools.warn()

    (record,) = caplog.records
    assert record.getMessage().startswith("OpenInference traces the Claude calls of this process too")
    assert "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=anthropic" in record.getMessage()
