"""The addresses of the server.

=================  ====================================================================
``GET /``          the page
``POST /predict``  a picture in, its segments out
``GET /health``    whether it answers, and how many wait
``GET /model``     what the model is and does, samples, limits
``GET /docs``      the interface, described; its source is ``/openapi.json``
=================  ====================================================================
"""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import asdict
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from .assets import Asset, Sample, page_assets
from .fields import make_question
from .guard import Guard
from .intake import Intake
from .line import Line, Ticket
from .questions import Limits, Model, RefusedError
from .schemas import EVENTS, Answer, Description, Health, Refusal, request_of_predict
from .work import Work

TITLE = "d2seg serve"
_REFUSALS = {
    400: "the request is no picture with fields of these names",
    403: "another host, or a page of another host",
    408: "the upload takes too long",
    413: "the file is too large",
    422: "the picture cannot be read or has too many pixels, or a field makes no sense",
    500: "the model fails",
    503: "too many requests wait, or the server is being stopped",
    504: "the answer takes too long",
}


class Service:
    """A model with the line in front of it."""

    def __init__(self, model: Model, limits: Limits, samples: Sequence[Sample]) -> None:
        self.model, self.limits, self.samples = model, limits, list(samples)
        self.intake = Intake(limits)
        self.work = Work(model, limits)

    @asynccontextmanager
    async def running(self, app: FastAPI) -> AsyncIterator[None]:
        self.line = Line(self.work, self.limits.max_waiting)
        serving = asyncio.create_task(self.line.serve())
        try:
            yield
        finally:
            serving.cancel()
            with suppress(asyncio.CancelledError):
                await serving

    def health(self) -> dict[str, Any]:
        return {"status": "ok", "waiting": len(self.line), "answered": self.line.num_done}

    def describe(self) -> dict[str, Any]:
        names = [sample.name for sample in self.samples]
        return {**self.model.describe(), "samples": names, "limits": asdict(self.limits)}

    def sample(self, number: int) -> Response:
        if not 0 <= number < len(self.samples):
            raise RefusedError(404, f"there are {len(self.samples)} samples, counted from 0")
        sample = self.samples[number]
        return Response(sample.content, media_type=sample.kind)

    async def predict(self, request: Request) -> Response:
        with ExitStack() as stack:
            share = stack.enter_context(self.intake.share())
            fields, name, content = await self.intake.read(request, share)
            question = make_question(fields, name, content, self.model.tasks, self.limits)
            del content
            ticket = self.line.join(question)
            stack.callback(self.line.leave, ticket)
            if EVENTS in request.headers.get("accept", ""):
                return _Events(self._events(ticket), stack.pop_all())
            return Response(await self._answer(ticket, request), media_type="application/json")

    async def _answer(self, ticket: Ticket, request: Request) -> bytes:
        """
        Raises:
            RefusedError: there is none, or not in time.
            ClientDisconnect: nobody waits for it any more.
        """
        gone = asyncio.create_task(_disconnected(request))
        try:
            await asyncio.wait(
                {ticket.answer, gone},
                timeout=self.limits.answer_seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            gone.cancel()
        if ticket.answer.done():
            return ticket.answer.result()
        if gone.done() and not gone.cancelled():
            raise ClientDisconnect
        raise self._too_late()

    def _too_late(self) -> RefusedError:
        return RefusedError(504, f"no answer within {self.limits.answer_seconds:g} seconds")

    async def _events(self, ticket: Ticket) -> AsyncIterator[bytes]:
        """A line for each change of the place in the line, then the answer or why there is none."""
        loop = asyncio.get_running_loop()
        ends, ahead = loop.time() + self.limits.answer_seconds, None
        while not ticket.answer.done() and loop.time() < ends:
            change = asyncio.create_task(
                self.line.change()
            )  # before it is looked at, so none is missed
            try:
                if ahead != (ahead := self.line.num_ahead(ticket)):
                    yield _event(ahead=ahead)
                await asyncio.wait(
                    {ticket.answer, change},
                    timeout=max(ends - loop.time(), 0),
                    return_when=asyncio.FIRST_COMPLETED,
                )
            finally:
                change.cancel()
        try:
            if not ticket.answer.done():
                raise self._too_late()
            yield b'{"answer":%s}\n' % ticket.answer.result()
        except RefusedError as error:
            yield _event(error=error.line, status=error.status)


class _Events(StreamingResponse):
    """Closes ``kept`` behind the last event, also where the client goes before."""

    def __init__(self, events: AsyncIterator[bytes], kept: ExitStack) -> None:
        super().__init__(events, media_type=EVENTS)
        self._kept = kept

    async def __call__(self, *arguments: Any) -> None:
        with self._kept:
            await super().__call__(*arguments)


def _event(**content: Any) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode() + b"\n"


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def make_app(model: Model, limits: Limits, samples: Sequence[Sample] = ()) -> FastAPI:
    """The application, to be bound to the loopback interface only: whoever reaches it may use the
    model.

    Args:
        samples: pictures that the page offers.
    """
    service = Service(model, limits, samples)
    app = FastAPI(
        title=TITLE,
        description='Segments of pictures, from one model. Errors are `{"error": one line}`.',
        docs_url=None,
        redoc_url=None,
        lifespan=service.running,
    )
    app.add_middleware(Guard)
    refusals = {status: {"model": Refusal, "description": t} for status, t in _REFUSALS.items()}

    @app.post(
        "/predict", response_model=Answer, responses=refusals, openapi_extra=request_of_predict()
    )
    async def predict(request: Request) -> Response:
        """The segments of one picture: a form with the file `image`, or the file itself as body
        with the fields in the address. With the header `Accept: application/x-ndjson` the answer
        comes in lines: `{"ahead": n}` as long as n requests come first, then `{"answer": ...}` or
        `{"error": ..., "status": ...}`."""
        return await service.predict(request)

    @app.get("/health", response_model=Health)
    async def health() -> dict[str, Any]:
        """Whether the server answers, and how many requests wait."""
        return service.health()

    @app.get("/model", response_model=Description)
    async def model_() -> dict[str, Any]:
        """What the model is and does, and what a request may hold."""
        return service.describe()

    @app.get("/samples/{number}", response_class=Response)
    async def sample(number: int) -> Response:
        """A picture to try."""
        return service.sample(number)

    for address, asset in page_assets(TITLE, str(app.openapi_url)).items():
        app.add_api_route(address, _giving(asset), include_in_schema=False)
    _report_in_one_line(app)
    return app


def _giving(asset: Asset) -> Any:
    async def give() -> Response:
        return Response(asset.content, headers=asset.headers)

    return give


def _report_in_one_line(app: FastAPI) -> None:
    """Every refusal is {"error": one line}."""

    @app.exception_handler(RefusedError)
    async def refused(_: Request, error: RefusedError) -> Response:
        headers = {"retry-after": "2"} if error.status == 503 else None
        return JSONResponse({"error": error.line}, error.status, headers)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        line = f"{request.method} {request.url.path[:100]!r}: {error.detail}; see /docs"
        return JSONResponse(
            {"error": RefusedError(error.status_code, line).line}, error.status_code
        )

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, _: RequestValidationError) -> Response:
        line = f"{request.url.path[:100]!r} has a part that is no number; see /docs"
        return JSONResponse({"error": line}, 422)

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, __: ClientDisconnect) -> Response:
        return Response(status_code=499)  # nobody reads it
