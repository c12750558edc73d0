"""Bodies of requests, bounded before they are read: how large, how slow, how many at once."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager

import anyio
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from .questions import Limits, RefusedError

_FORM = "multipart/form-data"
_MAX_FIELDS = 32
_MAX_FIELD = 16 << 10  # bytes
_AROUND = 1 << 20  # bytes that a form may have beside its file
_DRAINED, _DRAIN_SECONDS = 64 << 20, 5.0  # of a refused body, so that its sender hears why


class Share:
    """What one request holds of the memory for all."""

    def __init__(self, intake: "Intake") -> None:
        self._intake, self.held = intake, 0

    def take(self, number: int) -> None:
        """
        Raises:
            RefusedError: there is not so much left.
        """
        if self._intake.held + number > self._intake.limits.max_held:
            raise RefusedError(
                503, "the pictures that wait take all memory for them; try again in a moment"
            )
        self._intake.held += number
        self.held += number


class Intake:
    """Reads bodies. ``held``: bytes of all requests that are being read or answered."""

    def __init__(self, limits: Limits) -> None:
        self.limits, self.held = limits, 0

    @contextmanager
    def share(self) -> Iterator[Share]:
        """Memory for one request, which is given back at the end."""
        share = Share(self)
        try:
            yield share
        finally:
            self.held -= share.held

    async def read(
        self, request: Request, share: Share
    ) -> tuple[list[tuple[str, str]], str | None, bytes]:
        """Fields of the address and of the form, the file's name where there is a form, and the
        file: of a form its one file, else the body itself.

        Raises:
            RefusedError: too large, too slow, or no such form.
        """
        fields = list(request.query_params.multi_items())
        stream = request.stream()
        try:
            with anyio.fail_after(self.limits.upload_seconds):
                if request.headers.get("content-type", "").lower().startswith(_FORM):
                    more, name, content = await self._read_form(request, stream, share)
                    return [*fields, *more], name, content
                limit = self.limits.max_bytes
                chunks = [chunk async for chunk in self._bounded(request, stream, share, limit)]
                return fields, None, b"".join(chunks)
        except TimeoutError as error:
            seconds = self.limits.upload_seconds
            raise RefusedError(408, f"the upload took more than {seconds:g} seconds") from error
        except RefusedError:
            await _drain(stream)
            raise

    async def _bounded(
        self, request: Request, stream: AsyncGenerator[bytes, None], share: Share, limit: int
    ) -> AsyncGenerator[bytes, None]:
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > limit:
            raise self._too_large(int(declared))
        number = 0
        async for chunk in stream:
            number += len(chunk)
            if number > limit:
                raise self._too_large(number)
            share.take(len(chunk))
            yield chunk

    def _too_large(self, number: int) -> RefusedError:
        return RefusedError(
            413,
            f"the picture's file has {number / 1e6:.1f} MB or more; at most "
            f"{self.limits.max_bytes / 1e6:.1f} MB are taken",
        )

    async def _read_form(
        self, request: Request, stream: AsyncGenerator[bytes, None], share: Share
    ) -> tuple[list[tuple[str, str]], str, bytes]:
        limit = self.limits.max_bytes + _AROUND
        parser = MultiPartParser(
            request.headers,
            self._bounded(request, stream, share, limit),
            max_files=1,
            max_fields=_MAX_FIELDS,
            max_part_size=_MAX_FIELD,
        )
        parser.spool_max_size = limit  # stays in memory, which is counted
        try:
            form = await parser.parse()
        except (MultiPartException, KeyError, ValueError) as error:
            reason = getattr(error, "message", "") or error
            raise RefusedError(400, f"the form cannot be read: {reason}") from error
        fields, files = [], []
        for key, value in form.multi_items():
            if isinstance(value, UploadFile):
                files.append((key, value))
            else:
                fields.append((key, value))
        if not files or files[0][0] != "image":
            raise RefusedError(400, 'the form has no file "image": curl -F image=@street.jpg ...')
        upload = files[0][1]
        content = await upload.read()
        if len(content) > self.limits.max_bytes:
            raise self._too_large(len(content))
        return fields, upload.filename or "", content


async def _drain(stream: AsyncGenerator[bytes, None]) -> None:
    """Read on without keeping anything: who is still sending does not listen."""
    number = 0
    with anyio.move_on_after(_DRAIN_SECONDS):
        async for chunk in stream:
            number += len(chunk)
            if number > _DRAINED:
                return
