"""Channels: what goes over the wire, and what never shows."""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import json
import logging
import socket
import sys
import threading
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from importlib.util import find_spec

import pytest

from claudetrace._alerts import _http
from claudetrace._alerts._alert import Alert
from claudetrace._alerts._channel import DeliveryFailed, Notice
from claudetrace._alerts._channels import channels
from claudetrace._errors import ClaudetraceError
from tests.alerts._receiver import Receiver

ALERT = Alert(
    kind="threshold",
    budget="customers",
    key="acme",
    threshold=0.8,
    spent_usd=Decimal("8.000000000001"),
    limit_usd=Decimal("1E+1"),
    window_start=datetime(2026, 11, 1, tzinfo=UTC),
    window_end=datetime(2026, 12, 1, 1, tzinfo=timezone(timedelta(hours=1))),
    at=datetime(2026, 11, 21, 8, 0, 0, 123456, tzinfo=UTC),
    message='Budget "customers" of "acme" has spent $8.00 of $10.00.',
    service="shop",
)
NOTICE = Notice(id="0199-id", alert=ALERT)
SECRET = "s3cr3t-t0ken"
needs_apprise = pytest.mark.skipif(find_spec("apprise") is None, reason="the extra [alerts] is not installed")


@pytest.fixture
def receiver():
    with Receiver() as running:
        yield running


def only(value):
    (channel,) = channels("alert_to", value)
    return channel


def send(value, notice=NOTICE):
    only(value).send(notice)


def test_webhook_gets_the_whole_alert(receiver):
    """A webhook gets every field of an alert: money as decimal strings without an exponent, times in UTC."""
    send(f"http://{receiver.at}/hook?x=1")

    (got,) = receiver.got
    assert got.path == "/hook?x=1"
    assert json.loads(got.body) == {
        "id": "0199-id",
        "service": "shop",
        "test": False,
        "kind": "threshold",
        "budget": "customers",
        "key": "acme",
        "threshold": 0.8,
        "spent_usd": "8.000000000001",
        "limit_usd": "10",
        "window_start": "2026-11-01T00:00:00.000Z",
        "window_end": "2026-12-01T00:00:00.000Z",
        "at": "2026-11-21T08:00:00.123Z",
        "message": 'Budget "customers" of "acme" has spent $8.00 of $10.00.',
        **dict.fromkeys(("environment", "host", "command", "link")),
    }


@pytest.mark.parametrize("secret", [SECRET, "whsec_" + base64.b64encode(b"\x00key/+\xff").decode()])
def test_webhook_is_signed(receiver, secret):
    """With a secret, id, time and body are signed as Standard Webhooks says, and the id is the alert's."""
    send(f"http://{receiver.at}/hook#secret={secret}")

    (got,) = receiver.got
    key = base64.b64decode(secret[6:]) if secret.startswith("whsec_") else secret.encode()
    signed = b".".join((b"0199-id", got.headers["webhook-timestamp"].encode(), got.body))
    digest = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert got.headers["webhook-signature"] == f"v1,{digest}"
    assert (got.headers["webhook-id"], got.headers["idempotency-key"]) == ("0199-id", "0199-id")
    assert abs(int(got.headers["webhook-timestamp"]) - datetime.now(UTC).timestamp()) < 600
    assert secret not in str(got)


def test_secret_and_url_may_come_from_the_environment(receiver, monkeypatch):
    """A file of settings needs no secret: the URL or its secret can be a variable's."""
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    monkeypatch.setenv("HOOK", f"http://{receiver.at}/from-env")

    send("env:HOOK")
    send(f"http://{receiver.at}/signed#secret_env=HOOK_SECRET")

    assert [(got.path, "webhook-signature" in got.headers) for got in receiver.got] == [
        ("/from-env", False),
        ("/signed", True),
    ]


def test_user_and_password_of_a_url_are_basic_authentication(receiver):
    """A webhook's URL may have a user and a password; they go into the header for them and never to a name server."""
    send(f"http://me:p%40ss@{receiver.at}/hook")

    assert receiver.got[0].headers["authorization"] == "Basic " + base64.b64encode(b"me:p@ss").decode()


def test_unsigned_where_there_is_no_secret(receiver):
    """Without a secret there is no signature that somebody could take for one."""
    send(f"http://{receiver.at}/hook")

    assert "webhook-signature" not in receiver.got[0].headers


def test_slack_body(receiver):
    """Slack gets a headline, the sentence and the service, in which nothing is a link, a mention or a preview."""
    send(f"slack+http://{receiver.at}/services/T0/B0/{SECRET}")

    (got,) = receiver.got
    assert got.path == f"/services/T0/B0/{SECRET}"
    assert json.loads(got.body) == {
        "text": "*Budget customers for acme: 80 % reached*\n"
        'Budget "customers" of "acme" has spent $8.00 of $10.00.\n_shop_',
        "mrkdwn": True,
        "parse": "none",
        "link_names": False,
        "unfurl_links": False,
        "unfurl_media": False,
    }


def test_slack_markup_in_a_tag_is_text(receiver):
    """A hostile tag value calls nobody, links nowhere and cannot start a line of its own."""
    evil = "<!channel> <https://evil.example|x> @here & \n*all*"
    alert = Alert(kind="loop", key=evil, at=ALERT.at, message=f"A loop of {evil}", service="s")
    send(f"slack+http://{receiver.at}/x", Notice(id="i", alert=alert))

    text = json.loads(receiver.got[0].body)["text"]
    assert text == (
        "*Runaway loop*\nA loop of &lt;!channel&gt; &lt;https://evil.example|x&gt; @\u200bhere &amp;  *all*\n_s_"
    )


def test_slacks_own_host_is_recognised():
    """A URL of hooks.slack.com is Slack's format, named by its host alone."""
    channel = only(f"https://hooks.slack.com/services/T0/B0/{SECRET}")

    assert type(channel).__name__ == "SlackChannel"
    assert repr(channel).startswith("https://hooks.slack.com#")


def test_a_callable_gets_the_alert_and_the_log_its_message(caplog):
    """A callable is given the `Alert`; the log, which is where alerts go that nothing is named for, one line."""
    given = []
    send(functools.partial(given.append))
    with caplog.at_level(logging.WARNING, "claudetrace.alerts"):
        for channel in (*channels("alert_to", None), *channels("alert_to", ()), *channels("alert_to", ["log"])):
            channel.send(NOTICE)

    assert given == [ALERT]
    assert [record.getMessage() for record in caplog.records] == [ALERT.message] * 3
    assert {record.levelname for record in caplog.records} == {"WARNING"}


def test_the_same_channel_twice_is_one():
    """A channel that is named twice gets an alert once; two that differ in their path alone are two."""
    one, two = "https://host.example/a", "https://host.example/b"

    assert len(channels("alert_to", [one, two, one, "log", "log", print, print])) == 4


def test_a_name_outlives_its_signing_secret():
    """A channel's name is the same in all processes, and when its signing secret is changed."""
    first, second = only("https://h.example/p#secret=a"), only("https://h.example/p#secret=b")

    assert first.name == second.name == "https://h.example#" + first.name[-6:]
    assert first != second
    assert first == only("https://h.example/p#secret=a")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(receiver, status):
    """A redirect is a failure that says so: neither a GET elsewhere nor the alert at another host."""
    with Receiver() as other:
        receiver.status = status
        receiver.answer_headers = {"Location": f"http://{other.at}/{SECRET}"}
        with pytest.raises(DeliveryFailed, match=f"answered {status}; redirects are not followed") as failed:
            send(f"http://{receiver.at}/hook")

        assert (other.got, other.refused) == ([], 0)
    assert SECRET not in str(failed.value)


@pytest.mark.parametrize("way", ["hangs", "drips"])
def test_a_server_that_keeps_us_is_left(receiver, monkeypatch, way):
    """Neither a server that is silent nor one that drips its answer holds a delivery longer than it may."""
    monkeypatch.setattr(_http, "SILENCE_S", 0.3)
    monkeypatch.setattr(_http, "WHOLE_S", 0.5)
    setattr(receiver, way, True)

    with pytest.raises(DeliveryFailed, match="did not answer in time"):
        send(f"http://{receiver.at}/hook")


def test_an_endless_answer_is_not_read(receiver, monkeypatch):
    """Of an answer no more is read than a few kilobytes."""
    monkeypatch.setattr(_http, "ANSWER_BYTES", 5)
    receiver.drips = True

    send(f"http://{receiver.at}/hook")

    assert len(receiver.got) == 1


def test_a_server_says_when_to_come_again(receiver):
    """`Retry-After` is heard, up to an hour."""
    receiver.status, receiver.answer_headers = 429, {"Retry-After": "99999"}

    with pytest.raises(DeliveryFailed, match="answered 429") as failed:
        send(f"http://{receiver.at}/hook")

    assert failed.value.retry_after_s == 3600


def _closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _says_no_tls() -> tuple[int, threading.Thread]:
    listening = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        with listening, listening.accept()[0] as taken:
            taken.recv(1000)
            taken.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    return listening.getsockname()[1], thread


def test_errors_hold_no_secret():
    """What is raised names the failure; its words, its causes and its frames' errors hold nothing of the URL."""
    port, thread = _says_no_tls()
    places = {
        f"http://u:{SECRET}@127.0.0.1:{_closed_port()}/{SECRET}?{SECRET}": "the connection was refused",
        f"https://127.0.0.1:{port}/{SECRET}": "the request failed: SSLError",
        f"http://nowhere.invalid/{SECRET}": "its host's name could not be resolved",
    }
    for url, words in places.items():
        with pytest.raises(DeliveryFailed) as failed:
            send(url)
        assert str(failed.value) == words
        assert (failed.value.__cause__, failed.value.__context__) == (None, None)
        assert SECRET not in repr(only(url))
    thread.join()


async def _awaited(_alert):
    raise AssertionError


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (f"https://host.example/a b{SECRET}", "its host, port or path is no URL's"),
        (f"https:///{SECRET}", "its host, port or path is no URL's"),
        (f"https://host.example:{SECRET}/", "its host, port or path is no URL's"),
        (f"https://host.example/p#secret={SECRET}&other=1", "after # goes secret="),
        (f"https://host.example/p#{SECRET}", "after # goes secret="),
        (f"https://host.example/p#secret=whsec_{SECRET}!", "is not base64"),
        ("https://host.example/p#secret_env=NOT_SET_HERE", "NOT_SET_HERE is not set"),
        (SECRET, "it is no URL"),
        (f"://{SECRET}", "it is no URL"),
        (42, "of type int"),
        (_awaited, "it is a coroutine function"),
        ([print, None], r"alert_to\[1\]"),
    ],
)
def test_what_cannot_be_a_channel_is_refused(value, words):
    """A channel that cannot be is refused at set-up with the way out, and without showing its secret."""
    with pytest.raises(ClaudetraceError, match=words) as refused:
        channels("alert_to", value)

    assert SECRET not in str(refused.value)
    assert "https://host" not in str(refused.value)


def test_apprise_is_asked_for_where_it_is_needed(monkeypatch):
    """A URL of another scheme says which extra it needs, and shows no more of itself than the scheme."""
    monkeypatch.setitem(sys.modules, "apprise", None)

    with pytest.raises(ClaudetraceError, match=r'mailto needs apprise: pip install "claudetrace\[alerts\]"') as refused:
        channels("alert_to", f"mailto://me:{SECRET}@example.org")

    assert SECRET not in str(refused.value)


@needs_apprise
def test_apprise_delivers(receiver, caplog):
    """Through apprise an alert arrives with its headline and message, and no logger shows where it went."""
    with caplog.at_level(logging.DEBUG):
        channel = only(f"json://u:{SECRET}@{receiver.at}/{SECRET}")
        channel.send(NOTICE)
        receiver.status = 500
        with pytest.raises(DeliveryFailed, match="apprise could not deliver it"):
            channel.send(NOTICE)

    (got,) = receiver.got
    told = json.loads(got.body)
    assert (told["title"], told["message"]) == ("Budget customers for acme: 80 % reached", f"{ALERT.message}\nshop")
    assert SECRET not in caplog.text + repr(channel)
    assert channel.name.startswith("json://127.0.0.1#")


@needs_apprise
def test_apprise_follows_no_redirect(receiver):
    """Nor does apprise take an alert to where a server leads."""
    with Receiver() as other:
        receiver.status, receiver.answer_headers = 302, {"Location": f"http://{other.at}/"}
        with pytest.raises(DeliveryFailed):
            send(f"json://{receiver.at}/")

        assert (other.got, other.refused) == ([], 0)


@needs_apprise
def test_a_token_that_stands_for_a_host_is_not_shown():
    """Where a service's URL has its token in place of a host, a channel is named by its scheme alone."""
    channel = only("tgram://123456789:abcdefg_hijklmnop/12315544/")

    assert channel.name == "tgram#" + channel.name[-6:]


@needs_apprise
def test_apprise_refuses_a_url_without_showing_it():
    """A URL that apprise does not take is refused by its scheme."""
    with pytest.raises(ClaudetraceError, match="of the scheme nosuch cannot be used") as refused:
        channels("alert_to", f"nosuch://{SECRET}")

    assert SECRET not in str(refused.value)
