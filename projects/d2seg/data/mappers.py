"""Dataset mappers: from a dataset dict in detectron2's format to one sample for a model.

One mapper with two hooks per task. Semantic and panoptic ground truth is a map of codes that goes
through the augmentations once, however many masks it holds; instances are a list of masks.

Shapes: H, W are the size after augmentation and padding; N is the number of target masks.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import DatasetMapper
from detectron2.data import transforms as T

from ..registries import MAPPERS
from .augmentation import build_augmentations
from .box_mapper import BoxMapper
from .checks import check_labels
from .faults import flag
from .label_maps import read_id_map, read_labels
from .label_values import check_ignore_label
from .masks import CodedImage, draw_annotation, segment_codes, to_instances
from .medical.mapper import SliceMapper
from .orientation import check_orientation, check_size, check_stated_size
from .readers import PictureReader, build_reader
from .referring.mapper import ReferringMapper
from .resized_crop import join_crops

# What the mappers read and models do not: left out of the sample.
_GROUND_TRUTH = (
    "annotations",
    "sem_seg_file_name",
    "label_values",
    "pan_seg_file_name",
    "segments_info",
    "orientation",
)


# what augmentations raise for a picture of an odd size, and for settings that it does not go with
_UNFIT = (ValueError, AssertionError, ArithmeticError, cv2.error)


class MaskMapper(DatasetMapper, ABC):
    """Reads an image and, in training, its ground truth as masks; base of the tasks' mappers.

    Calling it on a dataset dict returns the dict without its ground-truth entries, and with

    - ``image``: (C, H, W) tensor as the reader gives it, uint8 or float32 on the 0..255 scale;
    - ``height``, ``width``: size of the file, before augmentation;

    in training also

    - ``content_size``: (h, w) of the image without its right and bottom padding;
    - ``instances``: ``gt_classes`` (N,) int64 contiguous ids, ``gt_masks`` BitMasks (N, H, W) of
      which none is empty, ``gt_boxes`` (N, 4) tight XYXY around them, in pixels of ``image``;
    - ``sem_seg``: int64 (H, W), for the semantic task only.

    N is 0 where nothing is annotated or the crop left nothing over.

    Args:
        augmentations: as :func:`build_augmentations` makes them; padding, if any, is last
        image_format: as of detectron2's ``read_image``
        reader: of files; None: of pictures in ``image_format``
        num_classes: classes are 0 .. ``num_classes`` - 1
        ignore_value: label of pixels that belong to no class

    Raises:
        ValueError: an entry of the dict is missing, an image cannot be decoded, its size
            contradicts the annotation, or a label is out of range. The message names the file.
    """

    @configurable
    def __init__(
        self,
        is_train: bool = True,
        *,
        augmentations: list[T.Augmentation],
        image_format: str,
        num_classes: int,
        ignore_value: int,
        reader: PictureReader | None = None,
    ) -> None:
        joined = join_crops(augmentations)
        super().__init__(is_train, augmentations=joined, image_format=image_format)
        self.reader = reader or PictureReader(image_format)
        self.num_classes = num_classes
        self.ignore_value = ignore_value

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        return {
            "is_train": is_train,
            "augmentations": build_augmentations(cfg, is_train),
            "image_format": cfg.INPUT.FORMAT,
            "num_classes": cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES,
            "ignore_value": cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE,
            "reader": build_reader(cfg),
        }

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        dataset_dict = dict(dataset_dict)
        image, orientation = self.reader.oriented(dataset_dict["file_name"])
        dataset_dict["orientation"] = orientation  # of a picture that EXIF data have turned
        check_stated_size(dataset_dict, image, orientation)
        inputs = self._inputs(dataset_dict, image) if self.is_train else T.AugInput(image)
        try:
            transforms = self.augmentations(inputs)
            if 0 in inputs.image.shape:
                raise ValueError("nothing is left of it")
        except _UNFIT as error:
            size = f"{image.shape[0]}x{image.shape[1]} pixels (height x width)"
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ValueError(
                f"{dataset_dict['file_name']}: its {size} cannot be augmented as INPUT says: "
                f"{reason}"
            ) from error
        sample = {k: v for k, v in dataset_dict.items() if k not in _GROUND_TRUTH}
        sample["image"] = torch.from_numpy(inputs.image.transpose(2, 0, 1).copy())
        if self.is_train:
            sample["content_size"] = _content_size(inputs.image, transforms)
            sample.update(self._targets(dataset_dict, inputs, transforms))
        return sample

    @abstractmethod
    def _inputs(self, dataset_dict: dict[str, Any], image: np.ndarray) -> CodedImage | T.AugInput:
        """What goes through the augmentations, made of the image as it is in the file."""

    @abstractmethod
    def _targets(
        self,
        dataset_dict: dict[str, Any],
        inputs: CodedImage | T.AugInput,
        transforms: T.TransformList,
    ) -> dict[str, Any]:
        """What a training sample has beyond the image; ``inputs`` have gone through."""

    def _classes_of(self, entries: list[dict[str, Any]], file_name: str) -> np.ndarray:
        """Return the classes of annotations or segments, int64, after a look at their range."""
        classes = np.array([entry["category_id"] for entry in entries], dtype=np.int64)
        wrong = classes[(classes < 0) | (classes >= self.num_classes)]
        if len(wrong):
            raise ValueError(
                f"{file_name}: {len(wrong)} of {len(classes)} annotations have a category_id "
                f"outside of 0..{self.num_classes - 1}, the first {wrong[0]}; see "
                "MODEL.SEM_SEG_HEAD.NUM_CLASSES and the data set's contiguous ids"
            )
        return classes


class SemanticMapper(MaskMapper):
    """Targets are the classes present in a label image of one channel, of 8 bits or more."""

    def _inputs(self, dataset_dict: dict[str, Any], image: np.ndarray) -> CodedImage:
        file_name = _entry(dataset_dict, "sem_seg_file_name", "semantic")
        labels = read_labels(file_name, dataset_dict.get("label_values"))
        check_size(labels, image, file_name)
        check_orientation(labels, image, dataset_dict, file_name)
        check_labels(labels, self.num_classes, self.ignore_value, file_name)
        dtype = np.uint8 if max(self.num_classes, self.ignore_value) < 256 else np.uint16
        classes = np.full(np.iinfo(dtype).max + 1, self.ignore_value, dtype)
        classes[: self.num_classes] = np.arange(self.num_classes)
        return CodedImage(image, labels.astype(dtype, copy=False), classes)

    def _targets(
        self, dataset_dict: dict[str, Any], inputs: CodedImage, transforms: T.TransformList
    ) -> dict[str, Any]:
        return {
            "instances": inputs.instances(self.ignore_value),
            "sem_seg": torch.from_numpy(inputs.sem_seg.astype(np.int64)),
        }


class PanopticMapper(MaskMapper):
    """Targets are the segments of a COCO panoptic PNG that are not crowd.

    A pixel's segment id is R + 256 G + 256^2 B (Kirillov et al. 2019; COCO's panoptic format). Id 0
    is void, and crowd segments become void; any other id must be listed in ``segments_info``.
    """

    def _inputs(self, dataset_dict: dict[str, Any], image: np.ndarray) -> CodedImage:
        file_name = _entry(dataset_dict, "pan_seg_file_name", "panoptic")
        ids = read_id_map(file_name).astype(np.int32)
        check_size(ids, image, file_name)
        check_orientation(ids, image, dataset_dict, file_name)
        segments = _entry(dataset_dict, "segments_info", "panoptic")
        crowd = np.array([flag(s.get("iscrowd")) for s in segments], dtype=bool)
        dtype = np.uint8 if len(segments) < 255 else np.uint16
        table = np.full(np.iinfo(dtype).max + 1, self.ignore_value, np.uint16)
        table[1 : len(segments) + 1] = np.where(
            crowd, self.ignore_value, self._classes_of(segments, file_name)
        )
        codes = segment_codes(ids, [s["id"] for s in segments], dtype, file_name)
        return CodedImage(image, codes, table)

    def _targets(
        self, dataset_dict: dict[str, Any], inputs: CodedImage, transforms: T.TransformList
    ) -> dict[str, Any]:
        return {"instances": inputs.instances(self.ignore_value)}


class InstanceMapper(MaskMapper):
    """Targets are the ``annotations`` that are not crowd.

    Polygons, compressed and uncompressed RLE, and (height, width) arrays may stand side by side.
    Polygons are drawn at the size of the sample, the others resized with it.
    """

    def _inputs(self, dataset_dict: dict[str, Any], image: np.ndarray) -> T.AugInput:
        return T.AugInput(image)

    def _targets(
        self, dataset_dict: dict[str, Any], inputs: T.AugInput, transforms: T.TransformList
    ) -> dict[str, Any]:
        annotations = enumerate(_entry(dataset_dict, "annotations", "instance"))
        targets = [(i, a) for i, a in annotations if not flag(a.get("iscrowd"))]
        classes = self._classes_of([a for _, a in targets], dataset_dict["file_name"])
        image_size = dataset_dict["height"], dataset_dict["width"]
        masks = np.zeros((len(targets), *inputs.image.shape[:2]), dtype=bool)
        h, w = _content_size(inputs.image, transforms)
        for mask, (i, annotation) in zip(masks, targets, strict=True):
            try:
                draw_annotation(annotation["segmentation"], image_size, transforms, mask[:h, :w])
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(
                    f"{dataset_dict['file_name']}: 'segmentation' of annotation {i} is neither a "
                    f"list of polygons, an RLE nor a mask: {error!r}"
                ) from error
        return {"instances": to_instances(masks, classes)}


_BUILT_IN: dict[str, type[DatasetMapper] | type[SliceMapper] | type[ReferringMapper]] = {
    "detectron2": BoxMapper,
    "semantic": SemanticMapper,
    "panoptic": PanopticMapper,
    "instance": InstanceMapper,
    "slice": SliceMapper,
    "referring": ReferringMapper,
}


def build_mapper(cfg: CfgNode, is_train: bool) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return the mapper that ``INPUT.MAPPER`` names.

    Raises:
        ValueError: for an unknown name, an ignore value that is a class, or a flip that would
            change what expressions mean.
    """
    name, head = cfg.INPUT.MAPPER, cfg.MODEL.SEM_SEG_HEAD
    MAPPERS.check(name)
    is_map = name in ("semantic", "panoptic", "slice")
    if is_map:
        check_ignore_label(head.IGNORE_VALUE, "MODEL.SEM_SEG_HEAD.IGNORE_VALUE")
    if is_map and head.IGNORE_VALUE < head.NUM_CLASSES:
        raise ValueError(
            f"MODEL.SEM_SEG_HEAD.IGNORE_VALUE {head.IGNORE_VALUE} is one of the classes "
            f"0..{head.NUM_CLASSES - 1}, which would never be learnt; set it above them"
        )
    if name == "referring" and cfg.INPUT.RANDOM_FLIP != "none":
        raise ValueError(
            f"INPUT.RANDOM_FLIP is {cfg.INPUT.RANDOM_FLIP!r}, which would change what 'left' or "
            "'above' mean in an expression; INPUT.MAPPER referring needs INPUT.RANDOM_FLIP none"
        )
    return (_BUILT_IN.get(name) or MAPPERS.get(name))(cfg, is_train)


def _entry(dataset_dict: dict[str, Any], key: str, mapper: str) -> Any:
    if key not in dataset_dict:
        raise ValueError(
            f"{dataset_dict['file_name']}: INPUT.MAPPER {mapper} needs '{key}' in the dataset "
            "dict; choose another mapper or another data set"
        )
    return dataset_dict[key]


def _content_size(image: np.ndarray, transforms: T.TransformList) -> tuple[int, int]:
    """(h, w) of ``image`` (H, W, C) less the padding that the last of ``transforms`` added."""
    h, w = image.shape[:2]
    for last in transforms.transforms[-1:]:
        if isinstance(last, T.PadTransform):
            return h - last.y1, w - last.x1
    return h, w
