"""Where the Claude Agent SDK is observed: what it writes to the CLI, and each message that it reads."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

import wrapt

if TYPE_CHECKING:
    from claudetrace._seam._live import Recorder
    from claudetrace._seam._where import TermsOfCalls

MODULE = "claude_agent_sdk._internal.query"
recorder: Recorder | None = None
terms: TermsOfCalls
_hooked = False


def install(to: Recorder, terms_of: TermsOfCalls) -> None:
    """Reports every response of an agent from now on to the recorder `to`. The SDK may be imported later."""
    global recorder, terms, _hooked
    recorder, terms = to, terms_of
    if _hooked:
        _wrap(sys.modules.get(MODULE))
    else:
        _hooked = True
        wrapt.register_post_import_hook(_wrap, MODULE)


def uninstall() -> None:
    """No response from now on is seen."""
    global recorder
    recorder = None
    if (patch := sys.modules.get(f"{__name__}._patch")) is not None:
        patch.unwrap()


def flush(timeout_s: float) -> bool:
    """Whether all that was seen is told. Blocks at most `timeout_s`."""
    patch, worker = (sys.modules.get(f"{__name__}.{name}") for name in ("_patch", "_worker"))
    if patch is None or worker is None:
        return True
    patch.look()
    return bool(worker.flush(timeout_s))


def _wrap(module: Any) -> None:
    if recorder is not None and module is not None:
        # Not by a statement: it imports this module.
        import_module(f"{__name__}._patch").wrap(module)
