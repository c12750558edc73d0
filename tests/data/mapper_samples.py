"""Hand-made dataset dicts and configs for the mappers' tests."""

from pathlib import Path

import numpy as np
import pycocotools.mask as mask_util
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.structures import BitMasks
from PIL import Image

from d2seg.config import add_d2seg_config

H, W = 40, 60


def make_cfg(mapper: str, num_classes: int = 10, **input_keys) -> CfgNode:
    """Config whose augmentations change nothing, unless ``input_keys`` say otherwise."""
    cfg = get_cfg()
    add_d2seg_config(cfg)
    cfg.INPUT.MAPPER = mapper
    cfg.INPUT.MIN_SIZE_TRAIN = (0,)
    cfg.INPUT.MIN_SIZE_TEST = 0
    cfg.INPUT.RANDOM_FLIP = "none"
    cfg.INPUT.FORMAT = "RGB"
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = num_classes
    for key, value in input_keys.items():
        cfg.merge_from_list([f"INPUT.{key.replace('__', '.')}", value])
    return cfg


# Every way of augmenting, at sizes for H x W images.
AUGMENTED = {
    "resize_crop": {
        "MIN_SIZE_TRAIN": (30, 50),
        "CROP__ENABLED": True,
        "CROP__TYPE": "absolute",
        "CROP__SIZE": (32, 48),
        "RANDOM_FLIP": "horizontal",
        "PAD_SIZE": (32, 64),
    },
    "lsj": {"LSJ__IMAGE_SIZE": 48, "RANDOM_FLIP": "horizontal"},
    "detr": {
        "MIN_SIZE_TRAIN": (32, 48),
        "CROP__ENABLED": True,
        "CROP__TYPE": "absolute_range",
        "CROP__SIZE": (384, 600),
        "RANDOM_FLIP": "vertical",
    },
}


def augmented_cfg(mapper: str, name: str, num_classes: int = 10, **input_keys) -> CfgNode:
    return make_cfg(mapper, num_classes, AUGMENTATION=name, **{**AUGMENTED[name], **input_keys})


def blocks() -> np.ndarray:
    """(H, W) labels 0..3 in the quarters of the image, with a block of 255 in the middle."""
    labels = np.zeros((H, W), np.uint8)
    labels[: H // 2, W // 2 :] = 1
    labels[H // 2 :, : W // 2] = 2
    labels[H // 2 :, W // 2 :] = 3
    labels[15:25, 20:40] = 255
    return labels


def write_image(folder: Path, labels: np.ndarray) -> dict:
    """An image whose grey level is 60 x label, as a dataset dict."""
    grey = (labels.astype(np.uint16) * 60 % 256).astype(np.uint8)
    Image.fromarray(np.stack([grey] * 3, -1)).save(folder / "image.png")
    return {
        "file_name": str(folder / "image.png"),
        "image_id": 7,
        "height": labels.shape[0],
        "width": labels.shape[1],
    }


def semantic_dict(folder: Path, labels: np.ndarray, mode: str | None = None) -> dict:
    Image.fromarray(labels, mode).save(folder / "labels.png")
    return {**write_image(folder, labels), "sem_seg_file_name": str(folder / "labels.png")}


def panoptic_dict(folder: Path, ids: np.ndarray, segments: list[dict]) -> dict:
    colors = np.stack([ids % 256, ids // 256 % 256, ids // 65536], -1).astype(np.uint8)
    Image.fromarray(colors).save(folder / "panoptic.png")
    return {
        **write_image(folder, ids % 4),
        "pan_seg_file_name": str(folder / "panoptic.png"),
        "segments_info": segments,
    }


def three_tasks(folder: Path, labels: np.ndarray) -> dict[str, dict]:
    """The same regions (255: nothing) as a dataset dict of each task, class = label."""
    present = [label for label in range(10) if (labels == label).any()]
    ids = np.array([label * 300 + 5 for label in range(255)] + [0])
    segments = [{"id": int(ids[label]), "category_id": label, "iscrowd": 0} for label in present]
    annotations = []
    for number, label in enumerate(present):
        mask = np.asfortranarray(labels == label)
        rle = mask_util.encode(mask)
        annotations.append({"category_id": label, "segmentation": [rle, mask][number % 2]})
    return {
        "semantic": semantic_dict(folder, labels),
        "panoptic": panoptic_dict(folder, ids[labels], segments),
        "instance": {**write_image(folder, labels), "annotations": annotations},
    }


def check_sample(sample: dict) -> None:
    """What holds for every training sample."""
    instances, (h, w) = sample["instances"], sample["content_size"]
    size = tuple(sample["image"].shape[1:])
    n = len(instances)
    assert sample["image"].dtype == torch.uint8
    assert sample["image"].is_contiguous()
    assert instances.image_size == size
    assert instances.gt_classes.dtype == torch.int64
    assert instances.gt_classes.shape == (n,)
    assert isinstance(instances.gt_masks, BitMasks)
    assert instances.gt_masks.tensor.shape == (n, *size)
    assert instances.gt_masks.tensor.flatten(1).any(1).all()
    torch.testing.assert_close(
        instances.gt_boxes.tensor, instances.gt_masks.get_bounding_boxes().tensor
    )
    assert (sample["image"][:, h:] == 128).all()
    assert (sample["image"][:, :, w:] == 128).all()
    assert not instances.gt_masks.tensor[:, h:].any()
    assert not instances.gt_masks.tensor[:, :, w:].any()
    if "sem_seg" in sample:
        assert sample["sem_seg"].dtype == torch.int64
        assert sample["sem_seg"].shape == size
        assert (sample["sem_seg"][h:] == 255).all()
        assert (sample["sem_seg"][:, w:] == 255).all()
    assert not {"annotations", "segments_info", "pan_seg_file_name"} & set(sample)
