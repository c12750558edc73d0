"""The body of a side's process."""

from multiprocessing.connection import Connection

import torch

from .contender import Contender
from .works import Work


def serve(connection: Connection, name: str, work: Work) -> None:
    """Answer requests until "end"; ``name`` is "ours", "transformers" or "plain"."""
    torch.manual_seed(0)
    contender: Contender | None = None
    while (request := connection.recv()) != "end":
        if request == "prepare":
            contender = contender_named(name)(work)
            connection.send("ready")
        else:
            connection.send(getattr(contender, request)())


def contender_named(name: str) -> type[Contender]:
    """Neither side's process imports the other's packages, for the sake of its peak memory."""
    if name == "ours":
        from .ours import Ours

        return Ours
    from .peers import Plain, Transformers

    return {"transformers": Transformers, "plain": Plain}[name]
