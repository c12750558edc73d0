"""Ground truth as masks: maps of codes, drawn annotations, and the boxes around them.

Shapes: H, W of the image that the masks belong to; N masks.
"""

import numpy as np
import pycocotools.mask as mask_util
import torch
from detectron2.data import transforms as T
from detectron2.structures import BitMasks, Boxes, Instances

from .label_maps import advice_on_unlisted
from .segmentations import FAR, plain, sound_array, sound_polygons, sound_segmentation

_NUM_PANOPTIC_IDS = 1 << 24  # three bytes of colour


class CodedImage:
    """An image and its map of codes; what augmentations transform instead of an ``AugInput``.

    The codes are kept as bytes, because detectron2 resizes uint8 maps with Pillow, which samples
    the centre of a pixel, and all others with torch, which samples its corner.

    Args:
        image: uint8 (H, W, C)
        codes: (H, W), uint8 or uint16. The largest number of the type is what padding gets.
        classes: (256,) or (65536,), the class of each code; several codes may share one.
    """

    def __init__(self, image: np.ndarray, codes: np.ndarray, classes: np.ndarray) -> None:
        self.image = image
        self.classes = classes
        self._bytes = np.ascontiguousarray(codes)
        if codes.dtype != np.uint8:
            self._bytes = self._bytes[..., None].view(np.uint8)  # (H, W, 2)

    def transform(self, transform: T.Transform) -> None:
        """Apply ``transform`` to image and codes, in place."""
        self.image = transform.apply_image(self.image)
        self._bytes = transform.apply_segmentation(self._bytes)

    @property
    def codes(self) -> np.ndarray:
        if self._bytes.ndim == 2:
            return self._bytes
        return np.ascontiguousarray(self._bytes).view(np.uint16)[..., 0]

    @property
    def sem_seg(self) -> np.ndarray:
        """(H, W) class of each pixel; the name is the one that detectron2's crops ask for."""
        return self.classes[self.codes]

    def instances(self, ignore_value: int) -> Instances:
        """One mask for each code that is left, except where its class is ``ignore_value``."""
        codes = self.codes
        present = np.flatnonzero(np.bincount(codes.ravel()))
        present = present[self.classes[present] != ignore_value]
        masks = codes == present.astype(codes.dtype)[:, None, None]
        return to_instances(masks, self.classes[present])


def segment_codes(
    ids: np.ndarray, segment_ids: list[int], dtype: type, file_name: str
) -> np.ndarray:
    """Number the segments 1, 2, ... in the order of ``segment_ids``; void becomes 0.

    Args:
        ids: (H, W) int32, each in 0 .. 2^24 - 1
        dtype: of the result, (H, W)

    Raises:
        ValueError: ``segment_ids`` cannot be ids, or do not hold all of ``ids``.
    """
    in_range = all(0 < i < _NUM_PANOPTIC_IDS for i in segment_ids)
    if not in_range or len(set(segment_ids)) < len(segment_ids):
        raise ValueError(
            f"{file_name}: the ids in its segments_info must be distinct and between 1 and "
            f"{_NUM_PANOPTIC_IDS - 1}, not {sorted(segment_ids)}"
        )
    listed = np.array([0, *segment_ids], dtype=np.int32)
    order = np.argsort(listed)
    # runs of equal pixels are looked up, not pixels; a table of all ids would not fit the caches
    flat = ids.ravel()
    starts = np.append(0, np.flatnonzero(flat[1:] != flat[:-1]) + 1)[: flat.size]
    lengths = np.diff(starts, append=flat.size)
    of_runs = flat[starts]
    codes = order[np.searchsorted(listed, of_runs, side="right", sorter=order) - 1]
    unlisted = of_runs[listed[codes] != of_runs]
    if len(unlisted):
        raise ValueError(
            f"{file_name} has {lengths[of_runs == unlisted[0]].sum()} pixels of segment id "
            f"{unlisted[0]}, which is not in its segments_info: {advice_on_unlisted(unlisted[0])}"
        )
    return np.repeat(codes.astype(dtype), lengths).reshape(ids.shape)


def draw_annotation(
    segmentation: list | dict | np.ndarray,
    image_size: tuple[int, int],
    transforms: T.TransformList,
    mask: np.ndarray,
) -> None:
    """Write an annotation's mask, which is in the frame of the file, into the sample's.

    Args:
        segmentation: as :func:`sound_segmentation` takes it
        image_size: (height, width) of the file
        mask: bool (h, w), all False; the sample without its padding

    Raises:
        ValueError: it is no mask, or does not fit the image.
    """
    segmentation = plain(segmentation)
    if isinstance(segmentation, list) and not any(isinstance(x, dict) for x in segmentation):
        polygons = sound_polygons(segmentation, image_size, FAR)
        points = [np.array(p, dtype=np.float64).reshape(-1, 2) for p in polygons]
        draw_polygons([transforms.apply_coords(p) for p in points], mask)
        return
    if isinstance(segmentation, np.ndarray):
        bitmap = sound_array(segmentation, image_size)
    else:
        rle = sound_segmentation(segmentation, image_size, slack=0, reach=FAR)
        bitmap = mask_util.decode(rle)
    bitmap = transforms.apply_segmentation(bitmap)
    mask[...] = bitmap[: mask.shape[0], : mask.shape[1]]  # padding holds the labels' pad value


def draw_polygons(polygons: list[np.ndarray], mask: np.ndarray) -> None:
    """Set the inside of ``polygons`` to True by COCO's rules, computed only where they are.

    The result is pycocotools' own for the whole of ``mask``, but for single pixels where an edge
    passes exactly half-way between two fifths of a pixel.

    Args:
        polygons: each (P, 2) points (x, y) in pixels of ``mask``; they may leave it
        mask: bool (H, W), all False
    """
    polygons = [p for p in polygons if len(p) > 2]
    if not polygons:
        return
    points = np.concatenate(polygons)
    size = np.array(mask.shape[::-1])
    x0, y0 = start = np.clip(np.floor(points.min(axis=0)), 0, size).astype(int)
    x1, y1 = np.clip(np.ceil(points.max(axis=0)), start, size).astype(int)
    if x0 == x1 or y0 == y1:
        return
    # pycocotools rounds corners to fifths of a pixel. Rounding them before a shift keeps its
    # result: the error of the subtraction would tip the many corners that lie half-way of two.
    corners = [np.where(start > 0, np.trunc(5 * p + 0.5) / 5 - start, p) for p in polygons]
    rles = mask_util.frPyObjects([c.ravel() for c in corners], y1 - y0, x1 - x0)
    mask[y0:y1, x0:x1] = mask_util.decode(mask_util.merge(rles))


def to_instances(masks: np.ndarray, classes: np.ndarray) -> Instances:
    """Targets of bool ``masks`` (N, H, W), without those that are empty.

    Boxes come from reductions of all masks at once; ``BitMasks.get_bounding_boxes`` goes through
    them one by one.
    """
    rows, columns = masks.any(axis=2), masks.any(axis=1)
    keep = rows.any(axis=1)
    height, width = masks.shape[1:]
    boxes = [
        columns.argmax(axis=1),
        rows.argmax(axis=1),
        width - columns[:, ::-1].argmax(axis=1),
        height - rows[:, ::-1].argmax(axis=1),
    ]
    if not keep.all():
        masks = masks[keep]
    instances = Instances((height, width))
    instances.gt_classes = torch.from_numpy(classes[keep].astype(np.int64))
    instances.gt_masks = BitMasks(torch.from_numpy(masks))
    instances.gt_boxes = Boxes(torch.from_numpy(np.stack(boxes, axis=1)[keep]).float())
    return instances
