"""d2seg.data.loader: the same samples for any number of processes and workers, from any batch on."""

import itertools
import logging
import random
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.data.samplers import TrainingSampler
from detectron2.utils import comm

from d2seg.data import loader as loader_module
from d2seg.data.loader import TrainLoader
from d2seg.data.seeding import choose_seed, seed_step

NUM_IMAGES = 10
DICTS = [{"index": i, "width": 4 + i % 2, "height": 4} for i in range(NUM_IMAGES)]


def draw_numbers(record: dict[str, Any]) -> tuple[int, float, float, float]:
    return record["index"], random.random(), float(np.random.rand()), float(torch.rand(()))


def make(batch_size: int = 4, seed: int = 5, mapper=draw_numbers, **kwargs) -> TrainLoader:
    sampler_of = lambda seed: TrainingSampler(NUM_IMAGES, seed=seed)  # noqa: E731
    return TrainLoader(DICTS, mapper, sampler_of, batch_size=batch_size, seed=seed, **kwargs)


def joined(batches: Iterable[list]) -> list:
    return list(itertools.chain.from_iterable(batches))


def take(loader: TrainLoader, number: int) -> list[list[tuple]]:
    return list(itertools.islice(loader, number))


@pytest.fixture(scope="module")
def line() -> list[tuple]:
    """The samples of 12 batches of 4, one after the other."""
    return joined(take(make(), 12))


def test_samples_differ_from_each_other_and_between_seeds(line):
    assert sorted(sample[0] for sample in line[:NUM_IMAGES]) == list(range(NUM_IMAGES))
    for generator in (1, 2, 3):
        assert len({sample[generator] for sample in line}) == len(line)
    other = joined(take(make(seed=6), 12))
    assert not {sample[1] for sample in line} & {sample[1] for sample in other}


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("start", [0, 1, 7])
def test_from_any_batch_on_with_any_workers(line, workers, start):
    loader = make(num_workers=workers, seed=0)
    loader.start_at(start, seed=5)
    assert joined(take(loader, 5)) == line[4 * start : 4 * (start + 5)]


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_share_each_batch(line, processes, monkeypatch):
    monkeypatch.setattr(comm, "get_world_size", lambda: processes)
    parts = []
    for rank in range(processes):
        monkeypatch.setattr(comm, "get_rank", lambda rank=rank: rank)
        loader = make(4 // processes)
        loader.start_at(2, seed=5)
        parts.append(take(loader, 3))
    for number, batches in enumerate(zip(*parts, strict=True), start=2):
        assert sorted(joined(batches)) == sorted(line[4 * number : 4 * (number + 1)])


def test_the_callers_generators_are_left_alone():
    expected = []
    for num_batches in (0, 3):
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)
        take(make(), num_batches)
        expected.append(draw_numbers({"index": 0}))
    assert expected[0] == expected[1]


@pytest.mark.parametrize("start", [0, 3])
def test_grouped_by_aspect(start):
    loader = make(group_by_aspect=True)
    everything = take(loader, 9)
    loader.start_at(start, seed=5)
    assert take(loader, 9 - start) == everything[start:]
    assert all(len({sample[0] % 2 for sample in batch}) == 1 for batch in everything)
    assert {batch[0][0] % 2 for batch in everything} == {0, 1}


def test_images_of_unknown_size_are_not_grouped(line, caplog):
    dicts = [{"index": d["index"]} for d in DICTS]
    sampler_of = lambda seed: TrainingSampler(NUM_IMAGES, seed=seed)  # noqa: E731
    with caplog.at_level(logging.INFO, "d2seg"):
        loader = TrainLoader(
            dicts, draw_numbers, sampler_of, batch_size=4, seed=5, group_by_aspect=True
        )
    assert "not grouped by aspect ratio" in caplog.text
    assert joined(take(loader, 3)) == line[:12]


def test_samples_that_are_turned_down_are_replaced_alike():
    def choosy(record: dict[str, Any]) -> tuple | None:
        return draw_numbers(record) if record["index"] > 3 else None

    loader = make(mapper=choosy)
    batches = take(loader, 6)
    assert all(len(batch) == 4 and min(batch)[0] > 3 for batch in batches)
    loader.start_at(4, seed=5)
    assert take(loader, 2) == batches[4:]
    with pytest.raises(ValueError, match="turned down 100 images in a row"):
        take(make(mapper=lambda record: None), 1)


def test_seeds_of_steps(monkeypatch):
    def numbers(seed: int, iteration: int) -> tuple:
        seed_step(seed, iteration)
        return draw_numbers({"index": 0})

    first = numbers(1, 2)
    assert numbers(1, 2) == first
    others = [numbers(1, 3), numbers(2, 2)]
    monkeypatch.setattr(comm, "get_rank", lambda: 1)
    others.append(numbers(1, 2))
    assert len({first, *others}) == 4
    assert choose_seed(7) == 7
    assert len({choose_seed(-1) for _ in range(5)}) == 5


@pytest.mark.parametrize("has_cuda", [False, True])
def test_memory_is_pinned_where_there_is_cuda(monkeypatch, has_cuda):
    options = []

    def record(*args: Any, **kwargs: Any) -> list:
        options.append(kwargs)
        return []

    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_cuda)
    monkeypatch.setattr(loader_module, "QuietDataLoader", record)
    iter(make())
    assert [kwargs["pin_memory"] for kwargs in options] == [has_cuda]


@pytest.mark.parametrize("has_stuff", [None, False, True])
@pytest.mark.parametrize("num_labelled", [0, 1])
def test_a_data_set_of_which_all_is_ignored_is_said(caplog, has_stuff, num_labelled) -> None:
    """One with a single object goes on, whenever it comes."""

    def mapper(record: dict[str, Any]) -> dict[str, Any]:
        found = record["index"] < num_labelled
        sample = {"file_name": f"{record['index']}.jpg", "instances": [1] * found}
        if has_stuff is not None:
            sample["sem_seg"] = torch.tensor([[255, 3 if has_stuff else 255]])
        return sample

    dicts = [{"index": number} for number in range(300)]
    last_first = lambda seed: itertools.cycle(reversed(range(300)))  # noqa: E731
    loader = TrainLoader(dicts, mapper, last_first, batch_size=7, seed=0, name="mine")
    if num_labelled or has_stuff:
        assert len(take(loader, 50)) == 50
    else:
        with pytest.raises(
            ValueError, match=r"the first 301 samples of mine .*, as 299\.jpg: noth"
        ):
            take(loader, 50)
    said = [r.getMessage() for r in caplog.records if r.name == "d2seg.data.loader"]
    if has_stuff:
        assert said == []
    else:
        [line] = said
        assert "none of the first 203 samples of mine has a label" in line
