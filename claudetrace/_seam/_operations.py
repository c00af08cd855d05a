"""Recognizes the operation of a request by its path, and the platform by the client's class."""

from __future__ import annotations

import re
from urllib.parse import unquote

from claudetrace._operations import (
    BATCHES_CREATE,
    BATCHES_RESULT,
    COMPLETIONS_CREATE,
    COUNT_TOKENS,
    MESSAGES_CREATE,
    Operation,
)

_PATHS: tuple[tuple[str, re.Pattern[str], Operation], ...] = tuple(
    (method, re.compile(rf"(?:^|/){path}/?$"), operation)
    for method, path, operation in (
        ("post", r"v1/messages", MESSAGES_CREATE),
        ("post", r"v1/messages/count_tokens", COUNT_TOKENS),
        ("post", r"v1/messages/batches", BATCHES_CREATE),
        ("get", r"v1/messages/batches/(?P<batch>[^/]+)/results", BATCHES_RESULT),
        ("post", r"v1/complete", COMPLETIONS_CREATE),
        # The paths of the clouds, for calls made with `client.post`.
        ("post", r"model/(?P<model>[^/]+)/invoke(?:-with-response-stream)?", MESSAGES_CREATE),
        ("post", r"model/(?P<model>[^/]+)/count-tokens", COUNT_TOKENS),
        ("post", r"publishers/anthropic/models/count-tokens:rawPredict", COUNT_TOKENS),
        ("post", r"publishers/anthropic/models/(?P<model>[^/:]+):(?:r|streamR)awPredict", MESSAGES_CREATE),
    )
)

Found = tuple[Operation, str | None, str | None]
"""An operation, and the model and the batch that its path names."""

_found: dict[tuple[str, str], Found | None] = {}


def operation_of(method: str, url: str) -> Found | None:
    """The operation of a request, or `None` for a request that no model answers."""
    key = (method, url)
    try:
        return _found[key]
    except KeyError:
        found = _find(method.lower(), url.partition("?")[0])
        # Bounded, since some paths contain an id.
        if len(_found) < 256:
            _found[key] = found
        return found


def _find(method: str, path: str) -> Found | None:
    for wanted, pattern, operation in _PATHS:
        if wanted == method and (match := pattern.search(path)):
            names = match.groupdict()
            model = unquote(names["model"]) if "model" in names else None
            return operation, model, names.get("batch")
    return None


_PLATFORMS = {
    "AnthropicBedrock": "bedrock",
    "AnthropicBedrockMantle": "bedrock",
    "AnthropicVertex": "vertex",
    "AnthropicFoundry": "foundry",
    "AnthropicAWS": "aws",
    "AnthropicGoogleCloud": "google_cloud",
}
"""By the names of the SDK's classes: importing the classes would load every cloud's client."""

_platforms: dict[type, str] = {}


def platform_of(client: object) -> str:
    """The platform that `client` calls, by its class."""
    kind = type(client)
    platform = _platforms.get(kind)
    if platform is None:
        names = (_PLATFORMS.get(base.__name__.removeprefix("Async")) for base in kind.__mro__)
        platform = _platforms[kind] = next(filter(None, names), "anthropic")
    return platform
