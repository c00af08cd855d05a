"""The play server, asked by a plain socket's client and by the anthropic SDK."""

from __future__ import annotations

import gzip
import http.client
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from claudetrace._demo import _answers as answers
from claudetrace._demo._server import Exchange, PlayServer

from .kinds._plays import packed


@pytest.fixture
def ask():
    """Sends a request over one connection to the server's address; gives status, headers and body."""
    connections: dict[str, http.client.HTTPConnection] = {}

    def send(server: PlayServer, method: str = "POST", path: str = "/v1/messages", body: object = b"{}"):
        host = urlsplit(server.url).netloc
        connection = connections.setdefault(host, http.client.HTTPConnection(host, timeout=10))
        connection.request(method, path, body=body)
        response = connection.getresponse()
        return response.status, response.headers, response.read()

    yield send
    for connection in connections.values():
        connection.close()


def test_exchanges_are_played_in_order_over_one_connection(ask):
    """Each request takes the first exchange that fits it and is not used up."""
    ones = [Exchange(body=b"first"), Exchange(path="/v1/other", body=b"other"), Exchange(body=b"second")]
    with PlayServer(*ones) as server:
        told = [ask(server)[2], ask(server)[2], ask(server, path="/v1/other?beta=true")[2]]

        assert told == [b"first", b"second", b"other"]
        assert [(r.method, r.path, r.query) for r in server.requests][2] == ("POST", "/v1/other", "beta=true")
        assert server.unplayed == []


def test_a_request_that_nothing_fits_is_told_so(ask):
    """It is answered by 404 and an error of the API's shape that names it."""
    with PlayServer(Exchange(when=lambda body: body["stream"])) as server:
        status, _, body = ask(server, body=b'{"stream": false}')

    assert status == 404
    assert b"no exchange left for POST /v1/messages" in body


def test_an_exchange_that_cannot_judge_the_request_is_a_failure_kept(ask):
    """What a predicate raises ends the connection, prints nothing, and is kept in `failures`."""
    with PlayServer(Exchange(when=lambda body: body["stream"])) as server:
        with pytest.raises(http.client.RemoteDisconnected):
            ask(server, body=b"{}")

        assert [type(failure) for failure in server.failures] == [KeyError]


def test_the_body_is_received_as_sent_whole_or_in_chunks(ask):
    """A request's body is the same whether it comes with its length or in chunks."""
    with PlayServer(Exchange(times=None)) as server:
        ask(server, body=b'{"a": 1}')
        ask(server, body=iter([b'{"a"', b": 1}"]))

        assert [(r.body, r.json) for r in server.requests] == [(b'{"a": 1}', {"a": 1})] * 2


def test_answers_can_be_packed(ask):
    """Whole bodies and chunks come packed as gzip or deflate, and are told so."""
    bodies = [b"words" * 100, [b"words"] * 100]
    with PlayServer(
        *(packed(lambda body=body: Exchange(body=body), "gzip") for body in bodies),
        packed(lambda: Exchange(body=bodies[1]), "deflate"),
    ) as server:
        whole, chunks, deflated = ask(server), ask(server), ask(server)

    assert [gzip.decompress(whole[2]), gzip.decompress(chunks[2])] == [b"words" * 100] * 2
    assert zlib.decompress(deflated[2]) == b"words" * 100
    assert deflated[1]["content-encoding"] == "deflate"


@pytest.mark.parametrize("body", [b"0123456789", [b"01234", b"56789"]])
def test_an_answer_can_be_cut(ask, body):
    """After `cut_after` bytes the connection is closed, and the client has those bytes."""
    with PlayServer(Exchange(body=body, cut_after=7)) as server, pytest.raises(http.client.IncompleteRead) as cut:
        ask(server)

    assert cut.value.partial == b"0123456"


def test_an_answer_can_be_left_out(ask):
    """With `hang_up` the connection is closed without an answer."""
    with PlayServer(Exchange(hang_up=True)) as server, pytest.raises(http.client.RemoteDisconnected):
        ask(server)


def test_chunks_arrive_one_by_one():
    """A chunk has reached the client before the next is sent, so a stream can be held at any event."""
    let_go = threading.Event()
    chunks = Exchange(body=[b"one", b"two"], before_chunk=lambda index: let_go.wait(10) if index else None)
    with PlayServer(chunks) as server:
        connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=10)
        connection.request("POST", "/v1/messages", body=b"{}")
        response = connection.getresponse()
        first = response.read1()
        let_go.set()

        assert (first, response.read()) == (b"one", b"two")
        connection.close()


def test_a_client_that_hangs_up_prints_nothing(capfd):
    """A stream that is closed in the middle is no failure of the server's."""
    sent = threading.Event()
    long = Exchange(body=[b"x" * 65536] * 200, before_chunk=lambda index: sent.set() if index == 5 else None)
    with PlayServer(long) as server:
        connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=10)
        connection.request("POST", "/v1/messages", body=b"{}")
        response = connection.getresponse()
        sent.wait(10)
        response.close()
        connection.close()

    assert server.failures == []
    assert capfd.readouterr() == ("", "")


def test_leaving_ends_waiting_answers():
    """Stopping does not wait for a delay, and leaves no thread."""
    before = set(threading.enumerate())
    with PlayServer(Exchange(delay_s=3600)) as server:
        connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=10)
        connection.request("POST", "/v1/messages", body=b"{}")
    connection.close()

    assert [t for t in set(threading.enumerate()) - before if t.name == "claudetrace-play-server"] == []


def test_many_clients_at_once_each_get_their_answer(ask):
    """An exchange is given out as often as it may be, whatever the number of threads."""
    with PlayServer(Exchange(body=b"few", times=20), Exchange(body=b"rest", times=None)) as server:

        def one(_: int) -> bytes:
            connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=10)
            connection.request("POST", "/v1/messages", body=b"{}")
            body = connection.getresponse().read()
            connection.close()
            return body

        with ThreadPoolExecutor(16) as pool:
            told = list(pool.map(one, range(60)))

    assert (told.count(b"few"), told.count(b"rest")) == (20, 40)


def test_answers_carry_the_headers_of_the_api(ask):
    """An answer names its request and what is left of the limits."""
    with PlayServer(answers.answer(headers={"x-more": "1"})) as server:
        headers = ask(server)[1]

    assert headers["request-id"].startswith("req_demo_")
    assert headers["anthropic-ratelimit-requests-remaining"] == "3600"
    assert headers["x-more"] == "1"
