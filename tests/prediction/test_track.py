"""Predictors on videos, and on pictures of other than three channels."""

from functools import partial
from pathlib import Path
from typing import Any

import detectron2.data.transforms as T
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from toy_pictures import Thresholds, toy_metadata

from d2seg.data.augmentation import Resize
from d2seg.data.readers import PictureReader
from d2seg.prediction.inputs import read_file
from d2seg.prediction.predictor import Predictor
from d2seg.visualization.media import UnreadableError
from d2seg.visualization.runner import Runner
from d2seg.visualization.segments import track_color
from d2seg.visualization.video_writing import VideoWriter


def toy(task: str, model: nn.Module | None = None, **options: Any) -> Predictor:
    return Predictor(
        model=model or Thresholds(task),
        task=task,
        resize=T.RandomApply(T.NoOpTransform(), 0.0),
        image_format="RGB",
        metadata=toy_metadata(),
        **options,
    )


def frames(number: int = 6, size: tuple[int, int] = (96, 128)) -> list[np.ndarray]:
    """A dark square (class 0, a cat) that moves over the sky (class 3, which is stuff)."""
    made = []
    for frame in range(number):
        picture = np.full((*size, 3), 220, np.uint8)
        picture[16:56, 4 + 5 * frame : 44 + 5 * frame] = 20
        made.append(picture)
    return made


@pytest.mark.parametrize("given", ["file", "list", "iterator"])
def test_a_video_in_python(tmp_path: Path, given: str) -> None:
    pictures: Any = frames()
    if given == "file":
        pictures = tmp_path / "a.mp4"
        with VideoWriter(pictures, 10.0) as writer:
            for picture in frames():
                writer.write(picture)
    elif given == "iterator":
        pictures = iter(frames())
    results = list(toy("panoptic").track(pictures))
    assert len(results) == 6
    for number, result in enumerate(results):
        ids, infos = result["panoptic_seg"]
        assert ids[24, 12 + 5 * number] == 1
        assert {info["id"]: info.get("track_id") for info in infos} == {1: 1, 2: None}
        records = result.to_coco()
        assert sorted(record.get("track_id", 0) for record in records) == [0, 1]
        drawn = np.asarray(result.draw())[20, 9 + 5 * number].astype(int)  # above its label
        assert np.abs(drawn - (10 + 127.5 * np.array(track_color(1)))).max() < 12


def test_instances_of_a_video() -> None:
    """Of four classes the last two score below 0.5."""
    results = list(toy("instance").track(frames()))
    assert [result["instances"].track_ids.tolist() for result in results] == [[1]] * 6
    results = list(toy("instance", confidence_threshold=0.0).track(frames()))
    assert [result["instances"].track_ids.tolist() for result in results] == [[1, 2]] * 6
    assert results[0].to_supervision().tracker_id.tolist() == [1, 2]


def test_tasks_and_frames_that_do_not_go_are_refused() -> None:
    with pytest.raises(ValueError, match="the tasks panoptic and instance; this is semantic"):
        toy("semantic").track(frames())
    mixed = [*frames(2), *frames(1, (90, 128))]
    with pytest.raises(ValueError, match="a frame has 90x128 pixels"):
        list(toy("panoptic").track(mixed))


class Mean(nn.Module):
    def forward(self, batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
        self.image = batch[0]["image"]
        size = batch[0]["height"], batch[0]["width"]
        return [{"sem_seg": torch.zeros(2, *size)}]


BANDS = np.arange(4 * 6 * 5, dtype=np.uint8).reshape(4, 6, 5)


def of_bands() -> Predictor:
    reader = PictureReader("RGB", 5, lambda file, content: np.load(file))
    return Predictor(
        model=Mean(),
        task="semantic",
        resize=Resize((8, 12)),
        image_format="RGB",
        reader=reader,
    )


def test_pictures_of_five_bands(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", BANDS)
    predictor = of_bands()
    for given in (BANDS, tmp_path / "a.npy", BANDS.astype(np.float64)):
        result = predictor(given)
        assert predictor.model.image.shape == (5, 8, 12)
        assert result["sem_seg"].shape == (2, 4, 6)
        assert result.draw().size == (6, 4)
    assert len(predictor(tmp_path)) == 1
    with pytest.raises(ValueError, match="a picture cannot be taken: it has 3 bands"):
        predictor(BANDS[..., :3])
    np.save(tmp_path / "b.npy", BANDS[..., :4])
    with pytest.raises(
        UnreadableError, match=r"b.npy: cannot be read: it has 4 bands, .* 5 values"
    ):
        predictor(tmp_path / "b.npy")


def test_pictures_of_five_bands_are_drawn(tmp_path: Path) -> None:
    """On the first three; one with other bands is reported."""
    np.save(tmp_path / "a.npy", BANDS)
    np.save(tmp_path / "b.npy", BANDS[..., :4])
    predictor = of_bands()
    runner = Runner(
        lambda image: {"sem_seg": torch.full(predictor(image)["sem_seg"].shape[1:], -1)},
        toy_metadata(),
        read=partial(read_file, reader=predictor.reader),
        shown=predictor.reader.shown,
    )
    runner.run_files([tmp_path / "a.npy", tmp_path / "b.npy"], [tmp_path / "a.png", None])
    assert (runner.num_drawn, runner.num_failed) == (1, 1)
    drawn = np.asarray(Image.open(tmp_path / "a.png"))
    assert np.array_equal(drawn[2::4, 2::4], BANDS[..., :3])  # enlarged


def test_grey_models_take_what_others_do(tmp_path: Path) -> None:
    predictor = toy("semantic", Mean(), reader=PictureReader("L", 1))
    colours = np.full((4, 6, 3), (10, 20, 240), np.uint8)
    Image.fromarray(colours).save(tmp_path / "a.png")
    expected = np.asarray(Image.fromarray(colours).convert("L"))
    for given in (tmp_path / "a.png", Image.fromarray(colours), colours, expected):
        predictor(given, channel_order="RGB")
        np.testing.assert_allclose(predictor.model.image[0], expected, atol=1)
