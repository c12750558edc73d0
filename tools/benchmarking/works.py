"""What is timed, and its inputs."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
WORKS = ("inference", "training", "postprocess", "runtimes")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
NUM_MASKS = 8  # in a training image
TRAINING_SIZE = (512, 512)
NUM_QUERIES, NUM_CONFIDENT = 100, 30  # in the post-processing alone


class Model(NamedTuple):
    config: str
    size: tuple[int, int]  # of the picture at inference
    task: str
    num_classes: int
    kind: str  # "masks", "pixels" or "boxes"


MODELS = {
    "mask2former": Model(
        "mask2former/coco_panoptic_resnet50", (800, 1067), "panoptic", 133, "masks"
    ),
    "maskformer": Model(
        "maskformer/ade20k_semantic_resnet50", (512, 683), "semantic", 150, "masks"
    ),
    "segformer_b0": Model(
        "segformer/ade20k_semantic_mit_b0", (512, 512), "semantic", 150, "pixels"
    ),
    "segformer_b5": Model(
        "segformer/ade20k_semantic_mit_b5", (512, 512), "semantic", 150, "pixels"
    ),
}

# and those whose network alone is timed, in the runtimes of exported files
NETWORKS = MODELS | {
    "mask2former_swin_t": Model(
        "mask2former/coco_panoptic_swin_tiny", (800, 1067), "panoptic", 133, "masks"
    ),
    "mask2former_instance": Model(
        "mask2former/coco_instance_resnet50", (800, 1067), "instance", 80, "masks"
    ),
    "setr_l": Model("setr/ade20k_semantic_pup_vit_large", (512, 512), "semantic", 150, "pixels"),
    "topformer": Model("topformer/ade20k_semantic_base", (512, 512), "semantic", 150, "pixels"),
    "transunet": Model(
        "transunet/synapse_semantic_r50_vit_base", (224, 224), "semantic", 9, "pixels"
    ),
    "dstransunet": Model(
        "dstransunet/kvasir_seg_semantic_base", (256, 256), "semantic", 2, "pixels"
    ),
    "pointrend_semantic": Model(
        "pointrend/cityscapes_semantic_resnet101", (512, 1024), "semantic", 19, "pixels"
    ),
    "pointrend_instance": Model(
        "pointrend/coco_instance_resnet50_3x", (800, 1067), "instance", 80, "boxes"
    ),
}
CLOCKS = ("wall", "cpu")


class Work(NamedTuple):
    what: str
    model: str
    task: str  # of the post-processing alone
    device: str
    dtype: str
    folder: str  # for the weights that both sides use
    clock: str = CLOCKS[0]


def picture(size: tuple[int, int]) -> Tensor:
    """(3, H, W) uint8: smooth random colours, so that features differ from place to place."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(1, 3, 12, 16, generator=generator)
    return (255 * F.interpolate(coarse, size=size, mode="bicubic")[0].clamp(0, 1)).byte()


def ground_truth(num_classes: int) -> tuple[Tensor, Tensor]:
    """Classes (N,) and masks (N, H, W) bool of a training image: rectangles side by side."""
    generator = torch.Generator().manual_seed(2)
    masks = torch.zeros(NUM_MASKS, *TRAINING_SIZE, dtype=torch.bool)
    for i in range(NUM_MASKS):
        row, column = divmod(i, 4)
        masks[i, 256 * row + 20 : 256 * row + 230, 128 * column + 10 : 128 * column + 110] = True
    return torch.randint(num_classes, (NUM_MASKS,), generator=generator), masks


def queries(num_classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Class logits (Q, K+1), mask embeddings (Q, C) and features (C, h, w) of an 800 x 1067 picture
    in a batch of 800 x 1088: as many confident queries as NUM_CONFIDENT."""
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(NUM_QUERIES, num_classes + 1, generator=generator)
    classes = torch.randint(num_classes, (NUM_CONFIDENT,), generator=generator)
    logits[torch.arange(NUM_CONFIDENT), classes] += 12
    logits[NUM_CONFIDENT:, -1] += 12
    coarse = torch.randn(1, 256, 12, 16, generator=generator)
    features = F.interpolate(coarse, size=(200, 272), mode="bicubic")[0]
    return logits, 0.5 * torch.randn(NUM_QUERIES, 256, generator=generator), features


def padded(pixels: Tensor) -> Tensor:
    """Zeros at the right and the bottom, up to a multiple of 32."""
    height, width = pixels.shape[-2:]
    return F.pad(pixels, (0, -width % 32, 0, -height % 32))
