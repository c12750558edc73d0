"""The body of a side's process."""

from multiprocessing.connection import Connection

import torch

from .contender import Contender
from .works import Work


def serve(connection: Connection, name: str, work: Work) -> None:
    """Answer requests until "end"; ``name`` is "ours", "transformers", "plain" or
    one of the runtimes."""
    torch.manual_seed(0)
    contender: Contender | None = None
    while (request := connection.recv()) != "end":
        if request == "prepare":
            contender = make_contender(name, work)
            connection.send("ready")
        else:
            connection.send(getattr(contender, request)())


def make_contender(name: str, work: Work) -> Contender:
    """Neither side's process imports the other's packages, for the sake of its peak memory."""
    if work.what == "runtimes":
        from .runtime_sides import RuntimeSide

        return RuntimeSide(work, name)
    return contender_named(name)(work)


def contender_named(name: str) -> type[Contender]:
    if name == "ours":
        from .ours import Ours

        return Ours
    from .peers import Plain, Transformers

    return {"transformers": Transformers, "plain": Plain}[name]
