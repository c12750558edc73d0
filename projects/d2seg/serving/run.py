"""The server's process: one port of the loopback interface."""

import socket
from collections.abc import Callable
from contextlib import suppress

import uvicorn
from fastapi import FastAPI

HOST = "127.0.0.1"
_MAX_CONNECTIONS = 512
_STOP_SECONDS = 5


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
