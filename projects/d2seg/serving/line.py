"""The line of requests in front of the one thread that runs the model.

All but the work itself happens in the event loop, so that nothing here needs a lock.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from .questions import Question, RefusedError

Answer = bytes  # JSON


class Ticket:
    """A place in the line. ``answer`` is set when it is known, or refused."""

    def __init__(self, question: Question, answer: "asyncio.Future[Answer]") -> None:
        self.question, self.answer = question, answer


class Line:
    """First come, first served."""

    def __init__(self, work: Callable[[Question], Answer], capacity: int) -> None:
        """
        Args:
            work: called in a thread of its own, by one request at a time.
            capacity: how many may wait, beside the one that is served.
        """
        self._work, self.capacity = work, capacity
        self._waiting: deque[Ticket] = deque()
        self._served: Ticket | None = None
        self._changed = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self.num_done = 0

    def __len__(self) -> int:
        """Requests that wait or are served."""
        return len(self._waiting) + (self._served is not None)

    def join(self, question: Question) -> Ticket:
        """
        Raises:
            RefusedError: the line is full.
        """
        if len(self._waiting) >= self.capacity:
            raise RefusedError(
                503, f"{self.capacity} requests are waiting already; try again in a moment"
            )
        ticket = Ticket(question, asyncio.get_running_loop().create_future())
        self._waiting.append(ticket)
        self._notify()
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Give up. What waits is taken out; what is being computed goes on, since a thread cannot
        be stopped, and its answer is dropped."""
        if ticket in self._waiting:
            self._waiting.remove(ticket)
            self._notify()
        ticket.answer.cancel()

    def num_ahead(self, ticket: Ticket) -> int:
        """How many come first, the one that is served among them; 0: it is served itself, or has
        left."""
        if ticket not in self._waiting:
            return 0
        return self._waiting.index(ticket) + (self._served is not None)

    async def change(self) -> None:
        """Wait until somebody joins, leaves or is served."""
        await self._changed.wait()

    async def serve(self) -> None:
        """Answer one after the other, until this is cancelled; those left are refused then."""
        try:
            while True:
                while not self._waiting:
                    await self.change()
                self._served = self._waiting.popleft()
                self._notify()
                await self._answer(self._served)
                self._served = None
                self.num_done += 1
        finally:
            self._thread.shutdown(wait=False, cancel_futures=True)
            for ticket in (*filter(None, [self._served]), *self._waiting):
                _refuse(ticket, RefusedError(503, "the server is being stopped"))

    async def _answer(self, ticket: Ticket) -> None:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._thread, self._work, ticket.question)
        except RefusedError as error:
            _refuse(ticket, error)
        else:
            if not ticket.answer.done():
                ticket.answer.set_result(found)

    def _notify(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def _refuse(ticket: Ticket, error: RefusedError) -> None:
    if not ticket.answer.done():
        ticket.answer.set_exception(error)
        ticket.answer.exception()  # looked at, so that asyncio does not report those that left
