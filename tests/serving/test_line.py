"""The line in front of the model's thread."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from d2seg.serving.line import Line
from d2seg.serving.questions import Question, RefusedError


def question(name: str) -> Question:
    return Question(b"", name, "instance")


def in_line(use: Callable[[Line], Any], work: Callable, capacity: int = 3) -> Any:
    """What ``use`` returns, with a line that is served meanwhile."""

    async def call() -> Any:
        line = Line(work, capacity)
        serving = asyncio.create_task(line.serve())
        try:
            return await asyncio.wait_for(use(line), 20)
        finally:
            serving.cancel()
            with suppress(asyncio.CancelledError):
                await serving

    return in_a_loop(call())


def in_a_loop(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """In a thread: where a test before used a browser, Playwright's loop runs in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


class Gated:
    """Work that waits for ``gate``, and notes what it has done and in which thread."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.done: list[str] = []
        self.threads: set[int] = set()

    def __call__(self, asked: Question) -> bytes:
        self.gate.wait(20)
        self.threads.add(threading.get_ident())
        self.done.append(asked.name)
        if asked.name == "bad":
            raise RefusedError(422, "bad\nname")
        return asked.name.encode()


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def test_answers_come_in_order_from_one_thread() -> None:
    work = Gated()
    work.gate.set()

    async def use(line: Line) -> list[bytes]:
        tickets = [line.join(question(name)) for name in "abc"]
        return [await ticket.answer for ticket in tickets]

    assert in_line(use, work) == [b"a", b"b", b"c"]
    assert work.done == ["a", "b", "c"]
    assert len(work.threads) == 1
    assert threading.get_ident() not in work.threads


def test_places_move_up_and_leaving_is_noticed() -> None:
    work = Gated()

    async def use(line: Line) -> None:
        first, second, third = (line.join(question(name)) for name in "abc")
        await until(lambda: line.num_ahead(first) == 0 and line.num_ahead(second) == 1)
        assert line.num_ahead(third) == 2
        assert len(line) == 3
        line.leave(second)
        assert line.num_ahead(third) == 1
        work.gate.set()
        assert await third.answer == b"c"
        assert line.num_ahead(third) == 0

    in_line(use, work)
    assert work.done == ["a", "c"]  # who has left costs the model nothing


def test_a_full_line_refuses() -> None:
    work = Gated()

    async def use(line: Line) -> None:
        line.join(question("served"))
        await until(lambda: line._served is not None)
        for name in "abc":
            line.join(question(name))
        with pytest.raises(RefusedError, match="3 requests are waiting already") as refused:
            line.join(question("d"))
        assert refused.value.status == 503
        work.gate.set()

    in_line(use, work)


def test_what_is_refused_does_not_stop_the_line() -> None:
    work = Gated()
    work.gate.set()

    async def use(line: Line) -> bytes:
        bad, good = line.join(question("bad")), line.join(question("good"))
        with pytest.raises(RefusedError) as refused:
            await bad.answer
        assert refused.value.line == "bad name"  # in one line
        return await good.answer

    assert in_line(use, work) == b"good"


def test_who_waits_when_the_server_stops_hears_it() -> None:
    work = Gated()

    async def use(line: Line) -> list[Any]:
        return [line.join(question(name)).answer for name in "ab"]

    async def call() -> list[Any]:
        line = Line(work, 3)
        serving = asyncio.create_task(line.serve())
        answers = await use(line)
        await until(lambda: line._served is not None)
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving
        work.gate.set()
        return [await asyncio.gather(answer, return_exceptions=True) for answer in answers]

    for (error,) in in_a_loop(call()):
        assert isinstance(error, RefusedError)
        assert error.line == "the server is being stopped"
