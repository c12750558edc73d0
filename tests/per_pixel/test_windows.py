"""Inference in tiles against the same thing done slowly, at full size and one step at a time."""

import itertools

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from d2seg.layers.chunking import budget
from d2seg.per_pixel import windows
from d2seg.per_pixel.windows import WindowSettings, predict

Size = tuple[int, int]
DIVISIBILITY = 8


class Model:
    """Logits at stride 4 that depend on everything in a window, and a record of the calls."""

    def __init__(self, num_classes: int = 6) -> None:
        torch.manual_seed(0)
        self.conv = torch.nn.Conv2d(3, num_classes, 7, 4, 3).requires_grad_(False)
        self.batches: list[tuple[int, ...]] = []

    def normalise(self, image: Tensor) -> Tensor:
        return (image.float() - 120) / 50

    def logits(self, images: Tensor) -> Tensor:
        assert images.shape[-2] % DIVISIBILITY == images.shape[-1] % DIVISIBILITY == 0
        self.batches.append(tuple(images.shape))
        return self.conv(images) + images.mean((1, 2, 3), keepdim=True)

    def predict(self, image: Tensor, output_size: Size, **settings) -> Tensor:
        return predict(
            image,
            output_size,
            normalise=self.normalise,
            logits_of=self.logits,
            settings=WindowSettings(**settings),
            divisibility=DIVISIBILITY,
        )


def picture(height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)


def resize(maps: Tensor, size: Size) -> Tensor:
    return F.interpolate(maps[None], size, mode="bilinear", align_corners=False)[0]


def padded(image: Tensor, size: Size) -> Tensor:
    return F.pad(image, (0, size[1] - image.shape[2], 0, size[0] - image.shape[1]))


def multiple(side: int) -> int:
    return -(-side // DIVISIBILITY) * DIVISIBILITY


def slow_whole(model: Model, image: Tensor, align: str) -> Tensor:
    """Scores at the size of the image, which with "resize" is that of the enlarged one."""
    size = tuple(map(multiple, image.shape[-2:]))
    if align == "resize":
        return resize(model.logits(model.normalise(resize(image.float(), size))[None])[0], size)
    window = padded(model.normalise(image), size)
    scores = resize(model.logits(window[None])[0], size)
    return scores[:, : image.shape[1], : image.shape[2]]


def slow_slide(model: Model, image: Tensor, crop: Size, stride: Size) -> Tensor:
    height, width = image.shape[-2:]
    total, count = 0, torch.zeros(height, width)
    tops = {min(y, max(height - crop[0], 0)) for y in range(0, height, stride[0])}
    lefts = {min(x, max(width - crop[1], 0)) for x in range(0, width, stride[1])}
    for y, x in itertools.product(sorted(tops), sorted(lefts)):
        window = model.normalise(image[:, y : y + crop[0], x : x + crop[1]])
        h, w = window.shape[-2:]
        scores = resize(model.logits(padded(window, crop)[None])[0], crop)[:, :h, :w]
        placed = torch.zeros(len(scores), height, width)
        placed[:, y : y + h, x : x + w] = scores
        total = total + placed
        count[y : y + h, x : x + w] += 1
    return total / count


SIZES = [(64, 96), (37, 51), (130, 71), (1, 40), (40, 1), (1, 1)]


@pytest.mark.parametrize("output_size", [None, (50, 83), (200, 150), (1, 1)])
@pytest.mark.parametrize("align", ["pad", "resize"])
@pytest.mark.parametrize("size", SIZES)
def test_whole(size: Size, align: str, output_size: Size | None) -> None:
    image, output_size = picture(*size), output_size or size
    model = Model()
    expected = resize(slow_whole(model, image, align), output_size)
    found = model.predict(image, output_size, align=align)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("output_size", [None, (150, 99)])
@pytest.mark.parametrize("stride", [(16, 24), (5, 7), (32, 40)])
@pytest.mark.parametrize("size", SIZES)
def test_sliding(size: Size, stride: Size, output_size: Size | None) -> None:
    image, output_size = picture(*size), output_size or size
    model, crop = Model(), (32, 40)
    expected = resize(slow_slide(model, image, crop, stride), output_size)
    found = model.predict(image, output_size, mode="slide", crop_size=crop, stride=stride)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-5)


def test_whole_and_sliding_agree_where_one_window_covers_the_image() -> None:
    image, model = picture(61, 90), Model()
    whole = model.predict(image, (70, 80))
    slide = model.predict(image, (70, 80), mode="slide", crop_size=(64, 96), stride=(64, 96))
    assert torch.equal(whole, slide)


@pytest.mark.parametrize("mode", ["whole", "slide"])
def test_augmented(mode: str) -> None:
    """The mean of the probabilities at the size of the result."""
    image, model, output_size = picture(50, 70), Model(), (61, 83)
    settings = {"mode": mode, "crop_size": (32, 40), "stride": (20, 30)}
    views = []
    for scale, flipped in itertools.product((0.5, 1.0, 1.7), (False, True)):
        scaled = image.float()
        if scale != 1:
            scaled = resize(scaled, (round(50 * scale), round(70 * scale)))
        scaled = scaled.flip(-1) if flipped else scaled
        if mode == "whole":
            scores = slow_whole(model, scaled, "pad")
        else:
            scores = slow_slide(model, scaled, (32, 40), (20, 30))
        scores = scores.flip(-1) if flipped else scores
        views.append(resize(scores, output_size).softmax(0))
    expected = torch.stack(views).mean(0)
    settings |= {"scales": (0.5, 1.0, 1.7), "flip": True}
    found = model.predict(image, output_size, **settings)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    labels = model.predict(image, output_size, output="labels", **settings)
    assert torch.equal(labels.long(), found.max(0)[1])


@pytest.mark.parametrize("num_classes", [1, 2, 150])
@pytest.mark.parametrize("mode", ["whole", "slide"])
def test_labels_are_the_argmax_of_the_scores(num_classes: int, mode: str) -> None:
    image, model = picture(100, 140), Model(num_classes)
    settings = {"mode": mode, "crop_size": (64, 64), "stride": (40, 48)}
    scores = model.predict(image, (171, 130), **settings)
    labels = model.predict(image, (171, 130), output="labels", **settings)
    assert labels.dtype == torch.int32
    assert torch.equal(labels.long(), scores.max(0)[1])
    assert len(labels.unique()) > num_classes // 10


def test_labels_of_regions_with_one_possible_class() -> None:
    """Where a class wins by far, a tile is not computed; where two meet, it is."""
    logits = torch.zeros(1, 4, 64, 64)
    logits[:, 3, :, :32], logits[:, 1, :, 32:] = 10, 10

    def labels(output: str) -> Tensor:
        return predict(
            torch.zeros(3, 256, 256),
            (256, 256),
            normalise=lambda image: image,
            logits_of=lambda images: logits,
            settings=WindowSettings(output=output),
            divisibility=DIVISIBILITY,
        )

    found = labels("labels")
    assert torch.equal(found.long(), labels("scores").max(0)[1])
    assert found[0, 127:129].tolist() == [3, 1]


def test_scores_that_are_not_numbers_stay_visible() -> None:
    model = Model()
    model.conv.weight[2] = float("nan")
    scores = model.predict(picture(64, 64), (64, 64))
    assert scores[2].isnan().all()
    labels = model.predict(picture(64, 64), (64, 64), output="labels")
    assert labels.min() >= 0
    assert labels.max() < 6


def test_windows_in_flight_and_logits_kept_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    model, kept = Model(), []
    release = windows._View.release_rows_before

    def counted(view: windows._View, row: int) -> None:
        release(view, row)
        kept.append(len(view._logits))

    monkeypatch.setattr(windows._View, "release_rows_before", counted)
    settings = {"mode": "slide", "crop_size": (64, 64), "stride": (48, 48), "max_windows": 3}
    image = picture(1000, 160)
    expected = slow_slide(Model(), image, (64, 64), (48, 48))
    found = model.predict(image, (1000, 160), **settings)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-5)
    columns, rows = 3, 21
    assert sum(batch[0] for batch in model.batches) == columns * rows  # each window once
    assert max(batch[0] for batch in model.batches) == 3
    assert max(kept) <= columns * 4  # of the rows that a row of tiles touches


def test_fewer_large_windows_share_a_batch_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"mode": "slide", "crop_size": (64, 64), "stride": (64, 64), "max_windows": 3}
    image = picture(64, 64 * 6)
    for pixels, expected in [(0, 1), (2 * 64**2 + 1, 2), (100 * 64**2, 3)]:
        monkeypatch.setattr(windows, "_BATCH_PIXELS", budget(pixels))
        model = Model()
        model.predict(image, (64, 64 * 6), **settings)
        assert [batch[0] for batch in model.batches] == [expected] * (6 // expected)


def test_resizing_is_in_fp32_under_autocast() -> None:
    image, model = picture(64, 96), Model()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = model.predict(image, (64, 96))
        logits = model.logits(model.normalise(image)[None])[0]
    assert not torch.equal(logits, model.logits(model.normalise(image)[None])[0])
    torch.testing.assert_close(found, resize(logits, (64, 96)), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "tiles"}, r"TEST\.MODE is 'tiles'; it is one of \['whole', 'slide'\]"),
        ({"align": "crop"}, r"TEST\.ALIGN is 'crop'"),
        ({"output": "probs"}, r"TEST\.OUTPUT is 'probs'"),
        ({"stride": (600, 100)}, r"TEST\.STRIDE is \(600, 100\); .* windows leave gaps"),
        ({"crop_size": (512,)}, r"pairs \(height, width\)"),
        ({"max_windows": 0}, r"MAX_WINDOWS is 0"),
        ({"scales": ()}, r"SCALES \[\]; they must be positive"),
    ],
)
def test_mistakes_are_named(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WindowSettings(**settings)
