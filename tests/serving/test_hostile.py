"""Clients that misbehave, against a server with a port of its own."""

import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from urllib.parse import urlsplit

import httpx2 as httpx
import numpy as np
import pytest
from served import Bands, app_of, encoded, server

from d2seg.serving import run
from d2seg.serving.questions import Limits

LIMITS = Limits(max_bytes=300_000, max_held=1_000_000, max_waiting=3)


@pytest.fixture
def model() -> Bands:
    return Bands()


@pytest.fixture
def address(model: Bands) -> Iterator[str]:
    with server(app_of(model, LIMITS)) as found:
        yield found


def connect(address: str) -> socket.socket:
    parts = urlsplit(address)
    return socket.create_connection((parts.hostname, parts.port), timeout=20)


def head(length: int) -> bytes:
    return f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n".encode()


def received(connection: socket.socket) -> tuple[int, dict]:
    """Status and JSON of what a connection gets until it is closed or silent."""
    connection.settimeout(30)
    text = b""
    while (part := connection.recv(65536)) or not text:
        text += part
        status, _, body = text.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", status)
        if length and len(body) >= int(length[1]):
            break
    return int(status.split()[1]), json.loads(body)


def is_well(address: str) -> bool:
    return httpx.post(f"{address}/predict", content=encoded(), timeout=30).status_code == 200


def until(address: str, waiting: int) -> None:
    ends = time.monotonic() + 20
    while httpx.get(f"{address}/health", timeout=20).json()["waiting"] != waiting:
        assert time.monotonic() < ends
        time.sleep(0.02)


def test_an_upload_that_never_ends(model: Bands) -> None:
    with server(app_of(model, replace(LIMITS, upload_seconds=0.3))) as address:
        with connect(address) as slow:
            slow.sendall(head(1000) + b"x")
            assert received(slow) == (408, {"error": "the upload took more than 0.3 seconds"})
        assert httpx.get(f"{address}/health", timeout=20).status_code == 200


@pytest.mark.parametrize("said", [b"", b"POST /predict HTTP/1.1\r\nHost: local"])
def test_one_that_says_nothing_loses_its_place(
    address: str, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr(run, "_SILENT_SECONDS", 0.2)
    with connect(address) as silent:
        silent.sendall(said)
        assert silent.recv(1) == b""
    with connect(address) as second:  # what it has been answered before does not help it
        second.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert received(second)[0] == 200
        second.sendall(said or b"G")
        assert second.recv(1) == b""


def test_one_that_does_not_read_its_answer_gives_back_what_it_holds(
    model: Bands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "_UNREAD_SECONDS", 0.3)
    noise = np.random.default_rng(0).integers(0, 255, (1300, 1300, 3), np.uint8)
    body = encoded(noise, "JPEG")
    ask = head(len(body)).replace(b"/predict", b"/predict?picture=true")
    ask = ask.replace(b"Host", b"Accept: application/x-ndjson\r\nHost")
    limits = replace(LIMITS, max_bytes=len(body), max_held=len(body))
    model.gate.clear()
    with server(app_of(model, limits)) as held, connect(held) as deaf:
        deaf.sendall(ask + body)
        until(held, waiting=1)
        model.gate.set()
        until(held, waiting=0)
        ends = time.monotonic() + 10
        while not is_well(held):
            assert time.monotonic() < ends
            time.sleep(0.05)


def test_an_answer_that_does_not_come(model: Bands) -> None:
    model.gate.clear()
    with server(app_of(model, replace(LIMITS, answer_seconds=0.3))) as address:
        answer = httpx.post(f"{address}/predict", content=encoded(), timeout=30)
        assert answer.status_code == 504
        assert answer.json() == {"error": "no answer within 0.3 seconds"}
        accept = {"accept": "application/x-ndjson"}
        answer = httpx.post(f"{address}/predict", content=encoded(), headers=accept, timeout=30)
        assert (
            answer.text.splitlines()[-1] == '{"error":"no answer within 0.3 seconds","status":504}'
        )
        until(address, waiting=1)
        model.gate.set()
    assert len(model.asked) == 1  # the second one left while the first was computed


def test_one_that_is_larger_than_it_may_be_hears_it_while_it_sends(address: str) -> None:
    with connect(address) as large:
        large.sendall(head(20_000_000))
        large.sendall(bytes(20_000_000))
        status, answer = received(large)
    assert status == 413
    assert answer["error"].startswith("the picture's file has 20.0 MB or more")
    with connect(address) as unsaid:  # in chunks, whose total nobody says
        unsaid.sendall(head(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked"))
        chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
        unsaid.sendall(8 * chunk + b"0\r\n\r\n")
        assert received(unsaid)[0] == 413
    assert is_well(address)


def test_one_that_goes_away_takes_no_time_of_the_model(address: str, model: Bands) -> None:
    model.gate.clear()
    body = encoded()
    with connect(address), connect(address) as first, connect(address) as second:
        first.sendall(head(len(body)) + body)
        until(address, 1)
        second.sendall(head(len(body)) + body)
        until(address, 2)
        second.close()
        until(address, 1)
        model.gate.set()
        assert received(first)[0] == 200
    assert len(model.asked) == 1


def test_a_full_line(address: str, model: Bands) -> None:
    model.gate.clear()
    body = encoded()
    with ExitStack() as stack:
        connections = [stack.enter_context(connect(address)) for _ in range(4)]
        for number, connection in enumerate(connections, start=1):
            connection.sendall(head(len(body)) + body)
            until(address, number)
        refused = httpx.post(f"{address}/predict", content=body, timeout=30)
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "2"
        assert refused.json() == {"error": "3 requests are waiting already; try again in a moment"}
        model.gate.set()
        assert [received(connection)[0] for connection in connections] == [200] * 4


def test_memory_for_uploads_is_shared(address: str, model: Bands) -> None:
    model.gate.clear()
    body = encoded() + bytes(290_000)  # behind the picture's end, where decoders do not look
    with connect(address) as a, connect(address) as b, connect(address) as c:
        for number, connection in enumerate((a, b, c), start=1):
            connection.sendall(head(len(body)) + body)
            until(address, number)
        refused = httpx.post(f"{address}/predict", content=body, timeout=30)
        assert refused.status_code == 503
        assert "take all memory" in refused.json()["error"]
        model.gate.set()
        assert [received(each)[0] for each in (a, b, c)] == [200] * 3
    assert is_well(address)  # it was given back


def test_garbage_in_the_place_of_http(address: str) -> None:
    for garbage in (b"\x16\x03\x01\x02\x00\x01\x00", b"GET / HTTP/9.9\r\n\r\n", b"\r\n" * 100):
        with connect(address) as connection:
            connection.sendall(garbage + b"\r\n\r\n")
    assert is_well(address)
