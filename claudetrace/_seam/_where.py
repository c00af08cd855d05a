"""Where a call goes, and what of that decides its price: the platform, the endpoint's region, the table `[hosts]`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from claudetrace._hosts import NO_HOST, host_said
from claudetrace._pricing import Terms
from claudetrace._seam._operations import platform_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from claudetrace._hosts import Host

_REGION = {"bedrock": "aws_region", "vertex": "region", "google_cloud": "_location"}
"""Where a cloud's client keeps its region. Google Cloud's model ids do not say it, and Bedrock's only some."""
_LOCATION = re.compile(r"/locations/([^/]+)/")
_AWS_HOST = re.compile(r"(?:^|\.)(?:amazonaws\.com|api\.aws)$")
_GOVCLOUD_REGION = re.compile(r"(?:^|\.)us-gov-[a-z]+-\d+(?:\.|$)")
_PORTS = {"https": 443, "http": 80}


class Where(NamedTuple):
    """Where a call goes, as far as its price depends on it."""

    platform: str
    """As the client's class tells."""
    region: str | None
    host: str
    port: int | None


def where_to(client: Any, url: str) -> Where:
    """Where a request of `client` for `url` goes."""
    base, platform = client.base_url, platform_of(client)
    region = _region(client, platform, url) if platform in _REGION else None
    if "://" in url:
        there = urlsplit(url)
        return Where(platform, region, there.hostname or "", there.port or _PORTS.get(there.scheme))
    return Where(platform, region, base.host, base.port or _PORTS.get(base.scheme))


def terms_of(
    where: Where, hosts: Mapping[str, Host], *, batch: bool, payer: str | None, data_zone: str | None
) -> Terms:
    """The pricing terms of a call that goes to `where`, by what `hosts` says of it."""
    said = host_said(hosts, where.host, where.port) or NO_HOST
    platform = said.platform or where.platform
    return Terms(
        platform=platform,
        batch=batch,
        endpoint_scope=said.endpoint_scope or _endpoint_scope(where),
        data_zone=data_zone if platform == "foundry" else None,
        billed_to=payer,
        told_platform=said.platform is not None,
        free_host=said.free,
        replays=said.replays,
    )


def _region(client: Any, platform: str, url: str) -> str | None:
    """The region that `client` calls: the one in the path goes before the one that the client was made with."""
    region = getattr(client, _REGION[platform], None)
    if platform == "google_cloud":
        url = f"{client.base_url.path}{url}"
    if "/locations/" in url and (found := _LOCATION.search(url)):
        region = found[1]
    return region if isinstance(region, str) and region else None


def _endpoint_scope(where: Where) -> str | None:
    """What is known of the endpoint's scope beside the model's id."""
    _, region, host, _ = where
    if _GOVCLOUD_REGION.search(host):
        return "us-gov"
    if region is None:
        return None
    if where.platform == "bedrock":
        # AWS's own hosts name their region; behind any other it is the one that requests are signed for.
        return "us-gov" if region.startswith("us-gov-") and not _AWS_HOST.search(host) else None
    return "global" if region == "global" else "regional"
