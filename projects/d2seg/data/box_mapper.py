"""The mapper of detectron2's own models, which take boxes, with their masks or without."""

import copy
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import DatasetMapper
from detectron2.data import transforms as T

from .entries import with_own_box
from .label_maps import read_labels
from .orientation import check_stated_size
from .readers import PictureReader, build_reader


class BoxMapper(DatasetMapper):
    """detectron2's mapper, with the box of the mask where an annotation's own lies elsewhere, as
    the evaluation has it (see ``entries.boxes_differ``), and for files of any number of bands."""

    @configurable
    def __init__(
        self, is_train: bool = True, *, reader: PictureReader | None = None, **others: Any
    ) -> None:
        """
        Args:
            reader: of files; None: detectron2's, of pictures.
            others: see detectron2's ``DatasetMapper``.
        """
        super().__init__(is_train, **others)
        self.reader = reader

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        reader = build_reader(cfg)
        own = {} if reader.is_of_three else {"reader": reader}
        return super().from_config(cfg, is_train) | own

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        if self.reader is None:
            return super().__call__(dataset_dict)
        sample = copy.deepcopy(dataset_dict)
        image, orientation = self.reader.oriented(sample["file_name"])
        check_stated_size(sample, image, orientation)
        label_file = sample.pop("sem_seg_file_name", None)
        labels = None if label_file is None else read_labels(label_file, sample.get("label_values"))
        inputs = T.AugInput(image, sem_seg=labels)
        transforms = self.augmentations(inputs)
        sample["image"] = torch.from_numpy(inputs.image.transpose(2, 0, 1).copy())
        if labels is not None:
            sample["sem_seg"] = torch.from_numpy(inputs.sem_seg.astype(np.int64))
        if not self.is_train:
            sample.pop("annotations", None)
        elif "annotations" in sample:
            self._transform_annotations(sample, transforms, inputs.image.shape[:2])
        return sample

    def _transform_annotations(
        self, dataset_dict: dict[str, Any], transforms: T.TransformList, image_shape: tuple
    ) -> None:
        size = dataset_dict["height"], dataset_dict["width"]
        annotations = dataset_dict["annotations"]
        dataset_dict["annotations"] = [with_own_box(a, size) for a in annotations]
        super()._transform_annotations(dataset_dict, transforms, image_shape)
