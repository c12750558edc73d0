"""Results of a folder one after the other."""

import gc
import logging
import weakref
from pathlib import Path

import detectron2.data.transforms as T
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from d2seg.prediction.predictor import Predictor
from d2seg.visualization.media import UnreadableError


class Brightness(nn.Module):
    """Scores that say a picture's mean value."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def forward(self, batch: list[dict]) -> list[dict]:
        self.sizes.append(len(batch))
        return [
            {"sem_seg": torch.full((1, e["height"], e["width"]), e["image"].float().mean().item())}
            for e in batch
        ]


@pytest.fixture
def predictor() -> Predictor:
    return Predictor(
        model=Brightness(), task="semantic", resize=T.Resize((4, 5)), image_format="RGB"
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures 0.png to 5.png of that value, of which 2.png is damaged."""
    for value in range(6):
        Image.fromarray(np.full((4, 5, 3), value, np.uint8)).save(tmp_path / f"{value}.png")
    (tmp_path / "2.png").write_bytes((tmp_path / "2.png").read_bytes()[:40])
    return tmp_path


def values(results: list) -> list[int]:
    return [int(result["sem_seg"][0, 0, 0]) for result in results]


@pytest.mark.parametrize(("batch_size", "sizes"), [(1, [1] * 5), (2, [2, 2, 1]), (9, [5])])
def test_a_damaged_file_does_not_end_the_rest(
    predictor: Predictor, folder: Path, batch_size: int, sizes: list[int]
) -> None:
    errors: list[UnreadableError] = []
    results = list(predictor.stream(folder, batch_size=batch_size, on_unreadable=errors.append))
    assert values(results) == [0, 1, 3, 4, 5]
    assert [int(result.path.stem) for result in results] == [0, 1, 3, 4, 5]
    assert predictor.model.sizes == sizes
    (error,) = errors
    assert str(error).startswith(f"{folder / '2.png'}: cannot be read: ")


def test_a_damaged_file_is_logged_and_ends_a_list(
    predictor: Predictor, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert len(list(predictor.stream(folder))) == 5
    (record,) = caplog.records
    assert "2.png: cannot be read: " in record.getMessage()
    assert record.getMessage().endswith("; it is left out")
    with pytest.raises(UnreadableError, match=r"2\.png"):
        predictor(folder)


def test_results_are_made_when_asked_for_and_not_kept(predictor: Predictor, folder: Path) -> None:
    (folder / "2.png").unlink()
    stream = predictor.stream(folder)
    assert predictor.model.sizes == []
    kept = []
    for number, result in enumerate(stream, start=1):
        assert len(predictor.model.sizes) == number
        kept.append(weakref.ref(result["sem_seg"]))
        del result
        gc.collect()
        assert sum(scores() is not None for scores in kept) <= 1
    assert len(kept) == 5


def test_an_iterator_is_asked_for_one_at_a_time(predictor: Predictor, folder: Path) -> None:
    asked = []

    def frames():
        for value in range(3):
            asked.append(value)
            yield np.full((4, 5, 3), 10 + value, np.uint8)
        yield folder / "0.png"

    stream = predictor.stream(frames())
    assert asked == []
    assert values([next(stream)]) == [10]
    assert asked == [0]
    assert values(list(stream)) == [11, 12, 0]
    with pytest.raises(ValueError, match=r"a picture is a generator; .*stream\(\) takes"):
        predictor(frames())


def test_mistakes_are_found_at_once(predictor: Predictor, folder: Path) -> None:
    for arguments, message in (
        ({"pictures": folder / "absent"}, "there is no picture"),
        ({"pictures": [folder, 3]}, "a picture is a int"),
        ({"pictures": ""}, "the path of a picture is empty"),
        ({"pictures": folder, "batch_size": 0}, "batch_size is 0"),
        ({"pictures": folder, "expressions": ["the dog"]}, "the task semantic takes none"),
        ({"pictures": folder, "channel_order": "rgb"}, "channel_order is 'rgb'"),
    ):
        with pytest.raises(ValueError, match=message):
            predictor.stream(**arguments)
