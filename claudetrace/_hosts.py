"""The table `[hosts]` of the settings file: what a host is, where its name does not tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from claudetrace._errors import ClaudetraceError
from claudetrace._pricing._terms import WORDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What the settings say of a host."""

    platform: str | None = None
    """Whose price its answers have; `None`: as the call itself tells."""
    endpoint_scope: str | None = None
    free: bool = False
    replays: bool = False
    """Whether it answers from a cache of its own, too."""


NO_HOST = Host()
_WORDS = {"free": Host(free=True), "replays": Host(replays=True)}
_CHOICES: Mapping[str, tuple[object, ...]] = {
    "proxy": WORDS["platform"],
    "endpoint_scope": WORDS["endpoint_scope"],
    "replays": (True, False),
}
_DOMAINS = ("anthropic.com", "amazonaws.com", "api.aws", "googleapis.com", "azure.com")
"""Those of the platforms' own endpoints."""


def is_platform(host: str) -> bool:
    """Whether `host` is a platform's own endpoint."""
    name = f".{host.lower().rstrip('.')}"
    return any(name.endswith(f".{domain}") for domain in _DOMAINS)


def host_said(hosts: Mapping[str, Host], host: str, port: int | None) -> Host | None:
    """What `hosts` says of `host` at `port`, or `None` where it does not name it."""
    if not hosts:
        return None
    name = _bracketed(host.lower().rstrip("."))
    return hosts.get(f"{name}:{port}") or hosts.get(name)


def hosts(name: str, value: object) -> dict[str, Host]:
    """The checked table. Raises `ClaudetraceError`, naming what is impossible and the way out."""
    if not isinstance(value, Mapping):
        raise ClaudetraceError(f'{name}={value!r} cannot be used: write a table, as "gateway.corp:8080" = "free"')
    return {_key(name, str(key)): _host(f"{name}, {str(key)!r}", said) for key, said in value.items()}


def _key(name: str, key: str) -> str:
    try:
        there = urlsplit(f"//{key}")
        host, port = there.hostname, there.port
    except ValueError:
        host = port = None
    if not host or there.netloc != key or "@" in key:
        raise ClaudetraceError(
            f'{name}, {key!r} cannot be used: give "host" or "host:port", without a scheme or a path'
        )
    bare = _bracketed(host.rstrip("."))
    return bare if port is None else f"{bare}:{port}"


def _host(place: str, said: Any) -> Host:
    if isinstance(said, str) and said in _WORDS:
        return _WORDS[said]
    if not isinstance(said, Mapping) or not said or not ({"proxy", "replays"} & said.keys()):
        raise ClaudetraceError(
            f'{place}={said!r} cannot be used: it is "free", "replays" or {{ proxy = "anthropic" }}; '
            "put quotes around a host's name"
        )
    for key, choice in said.items():
        if key not in _CHOICES:
            raise ClaudetraceError(f"{place} knows no {key!r}; known are {', '.join(_CHOICES)}")
        if choice not in _CHOICES[key]:
            raise ClaudetraceError(f"{place}, {key}={choice!r} is not one of {', '.join(map(str, _CHOICES[key]))}")
    return Host(
        platform=said.get("proxy"), endpoint_scope=said.get("endpoint_scope"), replays=bool(said.get("replays"))
    )


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
