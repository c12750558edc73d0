"""The server's process: one port of the loopback interface."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

HOST = "127.0.0.1"
_MAX_CONNECTIONS = 512
_STOP_SECONDS = 5
_SILENT_SECONDS = 20.0  # without a whole head of a request
_UNREAD_SECONDS = 120.0  # in which the client takes nothing of an answer


class Connection(H11Protocol):
    """Ends where its client says nothing, or does not read: uvicorn keeps such connections, which
    would take the places and the memory of others."""

    _silent: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._silent = _stopped(self._silent)
        self._unread = _stopped(self._unread)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(_UNREAD_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unread = _stopped(self._unread)

    def _await_head(self) -> None:
        """Start the clock, or stop it where a request is being answered."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._silent = _stopped(self._silent)
        elif self._silent is None:
            self._silent = self.loop.call_later(_SILENT_SECONDS, self.transport.close)


def _stopped(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


def bind(port: int) -> socket.socket:
    """A listening socket; port 0: any that is free.

    Raises:
        ValueError: the port cannot be had.
    """
    if not 0 <= port <= 65535:
        raise ValueError(f"--port is {port}; it is 0 (any that is free) to 65535")
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
        listening.listen(_MAX_CONNECTIONS)
    except OSError as error:
        listening.close()
        raise ValueError(
            f"--port {port} cannot be had: {error.strerror}; choose another, or 0 for any"
        ) from error
    return listening


def run(app: FastAPI, listening: socket.socket, started: Callable[[], None]) -> None:
    """Serve until Ctrl-C; ``started`` is called before: who connects then is answered."""
    config = uvicorn.Config(
        app,
        http=Connection,
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=_MAX_CONNECTIONS,
        timeout_graceful_shutdown=_STOP_SECONDS,
        lifespan="on",
    )
    server = uvicorn.Server(config)
    started()
    with suppress(KeyboardInterrupt):  # which uvicorn raises anew when it has stopped
        server.run(sockets=[listening])
