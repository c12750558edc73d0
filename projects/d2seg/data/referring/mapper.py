"""The mapper of referring data sets: an image of one size, and its expressions.

As ReSTR is published (Kim et al. 2022, section 4.1): images are resized to 480x480, whatever their
aspect ratio; nothing is flipped, since "left" and "right" would change sides.

Shapes: H, W the size of the sample; E expressions of one image.
"""

from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import transforms as T

from ...pictures import read_image
from ..augmentation import SSDColorAugmentation
from ..masks import draw_annotation

# Left out of the sample: what of a dict the model and the evaluator do not read.
_OTHER_TASKS = ("annotations", "sem_seg_file_name", "pan_seg_file_name", "segments_info")


class ReferringMapper:
    """Reads an image and, in training, draws the masks of some of its expressions.

    Calling it on a dataset dict returns the dict with

    - ``image``: uint8 (3, H, W) tensor in ``image_format``;
    - ``height``, ``width``: as the dict has them, else those of the file;
    - ``expressions``: all of the dict's; in training ``num_expressions`` of them drawn at random
      without repetition, in their order, or all where there are fewer;

    in training also ``expression_masks``: bool (E, H, W), empty for one that means nothing.

    An image that is a pixel larger or smaller than its dict says (as there are in ReferIt) is cut
    or its border repeated.

    Args:
        size: (H, W)
        image_format: as of detectron2's ``read_image``
        num_expressions: of one training sample
        color_augmentation: of ``image_format``; None: colours stay

    Raises:
        ValueError: a size or number that cannot be; when called, an image that cannot be read, a
            size that contradicts the dict, a mask that does not fit, or no ``expressions``.
    """

    @configurable
    def __init__(
        self,
        is_train: bool = True,
        *,
        size: tuple[int, int],
        image_format: str,
        num_expressions: int = 1,
        color_augmentation: T.Augmentation | None = None,
    ) -> None:
        if len(size) != 2 or min(size) < 1:
            raise ValueError(
                f"INPUT.REFERRING_SIZE is {tuple(size)}; it is (height, width) in pixels"
            )
        if num_expressions < 1:
            raise ValueError(
                f"INPUT.EXPRESSIONS_PER_IMAGE is {num_expressions}; it must be at least 1"
            )
        self.is_train = is_train
        self.image_format = image_format
        self.num_expressions = num_expressions
        self.augmentations = T.AugmentationList(
            [T.Resize(tuple(size)), *([color_augmentation] if color_augmentation else [])]
        )

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        has_colors = is_train and cfg.INPUT.COLOR_AUG_SSD
        return {
            "is_train": is_train,
            "size": tuple(cfg.INPUT.REFERRING_SIZE),
            "image_format": cfg.INPUT.FORMAT,
            "num_expressions": cfg.INPUT.EXPRESSIONS_PER_IMAGE,
            "color_augmentation": SSDColorAugmentation(cfg.INPUT.FORMAT) if has_colors else None,
        }

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        file_name = dataset_dict["file_name"]
        if not isinstance(dataset_dict.get("expressions"), list):
            raise ValueError(
                f"{file_name}: INPUT.MAPPER referring needs 'expressions' in the dataset dict; "
                "choose another mapper or another data set"
            )
        sample = {k: v for k, v in dataset_dict.items() if k not in _OTHER_TASKS}
        image = read_image(file_name, self.image_format)
        size = dataset_dict.get("height", image.shape[0]), dataset_dict.get("width", image.shape[1])
        inputs = T.AugInput(_fit(image, size, file_name))
        transforms = self.augmentations(inputs)
        sample["image"] = torch.from_numpy(inputs.image.transpose(2, 0, 1).copy())
        sample["height"], sample["width"] = size
        if self.is_train:
            sample["expressions"] = self._draw(dataset_dict["expressions"])
            sample["expression_masks"] = torch.from_numpy(
                _masks(sample["expressions"], size, transforms, inputs.image.shape[:2], file_name)
            )
        return sample

    def _draw(self, expressions: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if len(expressions) <= self.num_expressions:
            return expressions
        chosen = np.random.choice(len(expressions), self.num_expressions, replace=False)
        return [expressions[index] for index in sorted(chosen)]


def _fit(image: np.ndarray, size: tuple[int, int], file_name: str) -> np.ndarray:
    """``image`` (H, W, C) cut, or continued by its border, where it is a pixel off ``size``."""
    missing = [wanted - there for wanted, there in zip(size, image.shape, strict=False)]
    if missing == [0, 0]:
        return image
    if max(map(abs, missing)) > 1:
        raise ValueError(
            f"{file_name} is {image.shape[0]}x{image.shape[1]} (height x width), but its "
            f"annotation says {size[0]}x{size[1]}; correct the annotation, or put the image that "
            "belongs to it there"
        )
    padding = [(0, max(number, 0)) for number in missing]
    return np.pad(image, [*padding, (0, 0)], mode="edge")[: size[0], : size[1]]


def _masks(
    expressions: list[dict[str, Any]],
    image_size: tuple[int, int],
    transforms: T.TransformList,
    size: tuple[int, int],
    file_name: str,
) -> np.ndarray:
    """bool (E, *size), each in the frame of the sample."""
    masks = np.zeros((len(expressions), *size), dtype=bool)
    for mask, expression in zip(masks, expressions, strict=True):
        segmentation = expression.get("segmentation")
        if segmentation is None:  # means nothing in this image
            continue
        try:
            draw_annotation(segmentation, image_size, transforms, mask)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{file_name}: 'segmentation' of the expression {expression.get('sentence')!r} is "
                f"neither a list of polygons, an RLE nor a mask: {error!r}"
            ) from error
    return masks
