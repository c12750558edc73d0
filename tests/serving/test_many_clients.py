"""Many clients at once: none is lost, and memory stays bounded. docs/serving.md has the figures of
``python tests/serving/many_clients.py`` with a real model."""

import many_clients
from served import Bands, app_of, encoded, server

from d2seg.serving.questions import Limits


def test_fifty_clients() -> None:
    model = Bands()
    with server(app_of(model, Limits(max_waiting=64))) as address:
        measured = many_clients.measure(address, encoded(), num_clients=50, num_each=2)
    assert measured.statuses == {200: 100}
    assert len(model.asked) == 100
    assert measured.num_segments == 400  # each client gets an answer for its own picture
    assert len(measured.seconds) == 100
