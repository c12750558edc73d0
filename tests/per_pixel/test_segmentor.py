"""The per-pixel segmentor with parts made for the test."""

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone import Backbone
from torch import Tensor, nn
from torch.nn import functional as F

from d2seg.per_pixel.losses import PerPixelLoss
from d2seg.per_pixel.segmentor import PerPixelSegmentor
from d2seg.per_pixel.windows import WindowSettings

NUM_CLASSES, IGNORE = 3, 255


class Stem(Backbone):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 4, 4)

    @property
    def size_divisibility(self) -> int:
        return 4

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {"res2": ShapeSpec(channels=4, stride=4)}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"res2": self.conv(images)}


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.predictor = nn.Conv2d(4, NUM_CLASSES, 1)

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        return self.predictor(features["res2"])


def segmentor(*, num_auxiliary: int = 0, size_divisibility: int = 6, **loss) -> PerPixelSegmentor:
    torch.manual_seed(0)
    return PerPixelSegmentor(
        backbone=Stem(),
        decode_head=Head(),
        auxiliary_heads=[Head() for _ in range(num_auxiliary)],
        auxiliary_weight=0.4,
        loss=PerPixelLoss(num_classes=NUM_CLASSES, ignore_value=IGNORE, **loss),
        inference=WindowSettings(),
        size_divisibility=size_divisibility,
        pixel_mean=[100.0, 110.0, 120.0],
        pixel_std=[50.0, 55.0, 60.0],
    )


def batch(*sizes: tuple[int, int]) -> list[dict]:
    generator = torch.Generator().manual_seed(0)
    return [
        {
            "image": torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8),
            "sem_seg": torch.randint(0, NUM_CLASSES, size, generator=generator),
        }
        for size in sizes
    ]


def logits_of(model: PerPixelSegmentor, head: nn.Module, image: Tensor) -> Tensor:
    """Padded to a multiple of 12, at the size of the padded image."""
    mean = torch.tensor([100.0, 110.0, 120.0]).view(3, 1, 1)
    normalised = (image - mean) / torch.tensor([50.0, 55.0, 60.0]).view(3, 1, 1)
    height, width = (-(-side // 12) * 12 for side in image.shape[-2:])
    padded = F.pad(normalised, (0, width - image.shape[2], 0, height - image.shape[1]))
    logits = head(model.backbone(padded[None]))
    return F.interpolate(logits, (height, width), mode="bilinear", align_corners=False)[0]


@pytest.mark.parametrize("size", [(24, 36), (23, 31)])
def test_loss_and_scores_of_an_image(size: tuple[int, int]) -> None:
    model = segmentor()
    examples = batch(size)
    logits = logits_of(model, model.decode_head, examples[0]["image"])[:, : size[0], : size[1]]
    losses = model(examples)
    expected = F.cross_entropy(logits[None], examples[0]["sem_seg"][None])
    assert set(losses) == {"loss_sem_seg"}
    torch.testing.assert_close(losses["loss_sem_seg"], expected)
    model.eval()
    torch.testing.assert_close(model(examples)[0]["sem_seg"], logits.detach())


def test_padding_of_a_batch_does_not_count() -> None:
    model = segmentor()
    examples = batch((24, 36), (12, 12))
    pixels = []
    for example in examples:
        height, width = example["sem_seg"].shape
        logits = logits_of(model, model.decode_head, example["image"])[:, :height, :width]
        # no pixel of these logits is mixed with one of the padding
        inside = logits[:, : height - 2, : width - 2]
        example["sem_seg"][height - 2 :] = example["sem_seg"][:, width - 2 :] = IGNORE
        target = example["sem_seg"][: height - 2, : width - 2]
        pixels.append(F.cross_entropy(inside.flatten(1).T, target.flatten(), reduction="none"))
    torch.testing.assert_close(model(examples)["loss_sem_seg"], torch.cat(pixels).mean())


def test_auxiliary_heads_weigh_and_are_dropped_at_inference() -> None:
    model = segmentor(num_auxiliary=2, dice_weight=0.5)
    examples = batch((24, 36))
    losses = model(examples)
    assert set(losses) == {
        f"loss_sem_seg{head}{term}" for head in ("", "_aux_0", "_aux_1") for term in ("", "_dice")
    }
    for i, head in enumerate(model.auxiliary_heads):
        logits = logits_of(model, head, examples[0]["image"])
        expected = 0.4 * F.cross_entropy(logits[None], examples[0]["sem_seg"][None])
        torch.testing.assert_close(losses[f"loss_sem_seg_aux_{i}"], expected)
    model.eval()
    for head in model.auxiliary_heads:
        head.forward = None  # would fail when called
    model(examples)


def test_sizes_are_multiples_for_model_and_backbone() -> None:
    assert segmentor(size_divisibility=6).size_divisibility == 12
    assert segmentor(size_divisibility=0).size_divisibility == 4


def test_wrong_labels_are_named() -> None:
    model = segmentor()
    examples = batch((24, 36))
    examples[0]["sem_seg"][0, 0] = -1
    with pytest.raises(ValueError, match=r"no file name.*labels \[-1\] do not fit .*NUM_CLASSES 3"):
        model(examples)
