"""The endless stream of training batches, reproducible to the sample and resumable at any batch.

The images of a run stand in one line, in the sampler's order; process r of W takes every W-th of
them, from the r-th on, and cuts them into batches. What augmentations draw depends on the seed and
the place in that line. Hence the images of a step are the same ones, augmented in the same way,
for any number of processes and of workers, and a resumed run goes on where the interrupted one was.
With images grouped by aspect ratio the batches still resume exactly, but depend on the number of
processes.
"""

import itertools
import logging
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from detectron2.data import DatasetFromList
from detectron2.utils import comm
from torch.utils.data import Dataset, Sampler

from .seeding import seeded_sample
from .workers import QuietDataLoader

logger = logging.getLogger(__name__)

_MAX_DROPPED = 100  # samples in a row that a mapper may turn down
_FIRST = 200  # samples: by then crops of few images will have shown something that is labelled


class TrainLoader:
    """An endless iterable of lists of mapped samples: the batch of one process and one backward.

    Args:
        dicts: dataset dicts
        mapper: from a dataset dict to a sample; None turns the dict down, for a random other one.
        sampler_of: from a seed to detectron2's sampler of indices into ``dicts`` for this process
        batch_size: images of one process in one backward pass
        num_workers: processes that map; 0: this one does
        group_by_aspect: only images that are all wider than high, or all not, share a batch; left
            undone where a dict lacks ``width`` or ``height``
        seed: of the order and of the augmentations; the same in all processes, at least 0
        name: of the data set, for messages
    """

    def __init__(
        self,
        dicts: Sequence[dict[str, Any]],
        mapper: Callable[[dict[str, Any]], Any],
        sampler_of: Callable[[int], Sampler],
        *,
        batch_size: int,
        num_workers: int = 0,
        group_by_aspect: bool = False,
        seed: int,
        name: str = "the data set",
    ) -> None:
        self._name = name
        self._is_wide = _aspects(dicts) if group_by_aspect else None
        self._dicts = DatasetFromList(dicts, copy=False) if isinstance(dicts, list) else dicts
        self._mapper = mapper
        self._sampler_of = sampler_of
        self._batch_size = batch_size
        self._num_workers = num_workers
        self.start_at(0, seed)

    @property
    def num_images(self) -> int:
        """Images of one pass over the data."""
        return len(self._dicts)

    def start_at(self, batch: int, seed: int) -> None:
        """Let the next iteration begin with the ``batch``-th batch (from 0) of ``seed``'s run."""
        self._start, self._seed = batch, seed

    def __iter__(self) -> Iterator[list[Any]]:
        batches = _Batches(
            self._sampler_of(self._seed), self._batch_size, self._is_wide, self._start
        )
        loader = QuietDataLoader(
            _SeededSamples(self._dicts, self._mapper, self._seed),
            batch_sampler=batches,
            num_workers=self._num_workers,
            collate_fn=list,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # else it draws from that of the model's dropout
        )
        return _until_labelled(iter(loader), self.num_images, self._name)


def _until_labelled(
    batches: Iterator[list[Any]], num_images: int, name: str
) -> Iterator[list[Any]]:
    """Pass on batches, with a look at their targets up to the first that there is.

    Raises:
        ValueError: there is none in as many samples as there are images, and some hundred: all is
            ignored, of which a per-pixel model has a loss of 0, and one with queries learns to find
            nothing.
    """
    num_seen, limit = 0, max(num_images, _FIRST)
    for batch in batches:
        num_seen += len(batch)
        if any(map(_is_labelled, batch)):
            yield batch
            del batch  # which would live as long as the training
            break
        said = f"none of the first {num_seen} samples of {name} has a labelled pixel or an object"
        remedy = "d2seg check shows what is labelled"
        if num_seen >= limit:
            raise ValueError(f"{said}, as {_file_name(batch[-1])}: nothing is learnt; {remedy}")
        if num_seen >= _FIRST > num_seen - len(batch):
            logger.warning("%s; %s", said, remedy)
        yield batch
    yield from batches


def _is_labelled(sample: Any) -> bool:
    """Whether a sample has targets, or another kind of them than is known here."""
    instances = sample.get("instances") if isinstance(sample, dict) else None
    if instances is None or len(instances):
        return True
    stuff = sample.get("sem_seg")  # beside objects alone, as detectron2's mapper gives it
    return stuff is not None and bool(stuff.min() != stuff.max())


def _file_name(sample: dict[str, Any]) -> str:
    return str(sample.get("file_name", "the last one"))


class _Draw(NamedTuple):
    position: int  # in the line of all images of the run
    index: int  # of the dataset dict


class _SeededSamples(Dataset):
    """Maps the drawn dict, with the random numbers of its position."""

    def __init__(self, dicts: Sequence[dict[str, Any]], mapper: Callable, seed: int) -> None:
        self._dicts = dicts
        self._mapper = mapper
        self._seed = seed

    def __getitem__(self, draw: _Draw) -> Any:
        with seeded_sample(self._seed, draw.position):
            index = draw.index
            for _ in range(_MAX_DROPPED):
                sample = self._mapper(self._dicts[index])
                if sample is not None:
                    return sample
                index = random.randrange(len(self._dicts))
        raise ValueError(
            f"the mapper turned down {_MAX_DROPPED} images in a row, the last being "
            f"{self._dicts[index].get('file_name')}; check the data set with tools/check_dataset.py"
        )


class _Batches(Sampler):
    """Lists of draws, endless; without the first ``start`` ones."""

    def __init__(
        self, sampler: Sampler, batch_size: int, is_wide: list[bool] | None, start: int
    ) -> None:
        self._sampler = sampler
        self._batch_size = batch_size
        self._is_wide = is_wide
        self._start = start

    def __iter__(self) -> Iterator[list[_Draw]]:
        return itertools.islice(self._all(), self._start, None)

    def _all(self) -> Iterator[list[_Draw]]:
        rank, processes = comm.get_rank(), comm.get_world_size()
        buckets: dict[bool, list[_Draw]] = {False: [], True: []}
        for number, index in enumerate(self._sampler):
            bucket = buckets[self._is_wide is not None and self._is_wide[index]]
            bucket.append(_Draw(number * processes + rank, index))
            if len(bucket) == self._batch_size:
                yield bucket[:]
                bucket.clear()


def _aspects(dicts: Sequence[dict[str, Any]]) -> list[bool] | None:
    """Whether each image is wider than high; None if that is unknown."""
    try:
        return [d["width"] > d["height"] for d in dicts]
    except KeyError:
        logger.info(
            "Batches are not grouped by aspect ratio: the dataset dicts do not say how large the "
            "images are"
        )
        return None
