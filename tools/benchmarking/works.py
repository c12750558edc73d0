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
POSTPROCESS_SIZE = (800, 1067)  # of the results of the post-processing alone
SHORT = 8  # by what a short form divides all sides
NUM_QUERIES, NUM_CONFIDENT = 100, 30  # in the post-processing alone


class Model(NamedTuple):
    config: str
    size: tuple[int, int]  # of the picture at inference
    task: str
    num_classes: int
    kind: str  # "masks", "pixels", "boxes" or "words"


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
    "per_pixel_plus": Model(
        "maskformer/ade20k_semantic_per_pixel_plus_resnet50", (512, 683), "semantic", 150, "pixels"
    ),
    "restr": Model("restr/refcoco_unc_referring_vit_base", (480, 480), "referring", 1, "words"),
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
    divisor: int = 1  # of all sides of pictures

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the picture, or of the post-processing's results."""
        sizes = {"training": TRAINING_SIZE, "postprocess": POSTPROCESS_SIZE}
        height, width = sizes.get(self.what, NETWORKS[self.model].size)
        return height // self.divisor, width // self.divisor


# what ``--all`` measures: the tables of docs/benchmarks.md; what, model, dtype
TABLE = (
    *(("inference", model, dtype) for model in MODELS for dtype in DTYPES),
    *(("training", model, dtype) for model in ("mask2former", "maskformer") for dtype in DTYPES),
    ("postprocess", "mask2former", "fp32"),
)
# and in short
SHORT_TABLE = (
    ("inference", "maskformer", "fp32"),
    ("inference", "segformer_b0", "fp32"),
    ("training", "maskformer", "fp32"),
    ("postprocess", "mask2former", "fp32"),
)


def picture(size: tuple[int, int]) -> Tensor:
    """(3, H, W) uint8: smooth random colours, so that features differ from place to place."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(1, 3, 12, 16, generator=generator)
    return (255 * F.interpolate(coarse, size=size, mode="bicubic")[0].clamp(0, 1)).byte()


def ground_truth(num_classes: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Classes (N,) and masks (N, H, W) bool of a training image: rectangles side by side."""
    generator = torch.Generator().manual_seed(2)
    masks = torch.zeros(NUM_MASKS, *size, dtype=torch.bool)
    height, width = size[0] // 2, size[1] // 4
    for i in range(NUM_MASKS):
        top, left = height * (i // 4), width * (i % 4)
        rows = slice(top + height // 12, top + 9 * height // 10)
        masks[i, rows, left + width // 12 : left + 9 * width // 10] = True
    return torch.randint(num_classes, (NUM_MASKS,), generator=generator), masks


def queries(num_classes: int, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Class logits (Q, K+1), mask embeddings (Q, C) and features (C, h, w) of a picture in a batch
    padded to a multiple of 32: as many confident queries as NUM_CONFIDENT."""
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(NUM_QUERIES, num_classes + 1, generator=generator)
    classes = torch.randint(num_classes, (NUM_CONFIDENT,), generator=generator)
    logits[torch.arange(NUM_CONFIDENT), classes] += 12
    logits[NUM_CONFIDENT:, -1] += 12
    coarse = torch.randn(1, 256, 12, 16, generator=generator)
    height, width = (side // 4 for side in padded_size(size))
    features = F.interpolate(coarse, size=(height, width), mode="bicubic")[0]
    return logits, 0.5 * torch.randn(NUM_QUERIES, 256, generator=generator), features


def padded_size(size: tuple[int, int]) -> tuple[int, int]:
    """The next multiples of 32."""
    height, width = (-(-side // 32) * 32 for side in size)
    return height, width


def padded(pixels: Tensor) -> Tensor:
    """Zeros at the right and the bottom, up to a multiple of 32."""
    height, width = pixels.shape[-2:]
    return F.pad(pixels, (0, -width % 32, 0, -height % 32))
