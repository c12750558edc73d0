"""What the tests of the evaluators share: tiny data sets and outputs for them."""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets.builtin_meta import _get_builtin_metadata
from detectron2.data.datasets.coco_panoptic import register_coco_panoptic
from detectron2.evaluation import DatasetEvaluator
from detectron2.structures import Boxes, Instances
from PIL import Image

from d2seg.data.label_maps import write_id_map

PANOPTIC_NAME = "evaluation_test_panoptic"
SEMANTIC_NAME = "evaluation_test_semantic"
INSTANCE_NAME = "evaluation_test_instance"
PANOPTIC_CATEGORIES = [
    {"id": 11, "name": "cat", "isthing": 1},
    {"id": 13, "name": "dog", "isthing": 1},
    {"id": 20, "name": "sky", "isthing": 0},
    {"id": 40, "name": "sea", "isthing": 0},
]
# of make_instances: (category, x, y, w, h)
OBJECTS = [(3, 0, 0, 10, 10), (3, 20, 20, 10, 10), (8, 0, 20, 10, 10)]


def register_coco(shared_dir: Path, split: str = "val") -> str:
    """The pieces of COCO under a name of their own, as detectron2's "standard" panoptic format."""
    name = f"evaluation_test_coco_{split}_panoptic"
    if name not in DatasetCatalog.list():
        root = shared_dir / "data" / "coco"
        register_coco_panoptic(
            name,
            _get_builtin_metadata("coco_panoptic_standard"),
            str(root / f"{split}2017"),
            str(root / f"panoptic_{split}2017"),
            str(root / "annotations" / f"panoptic_{split}2017.json"),
            str(root / "annotations" / f"instances_{split}2017.json"),
        )
    return name


def register(name: str, dicts: list[dict], **metadata: object) -> str:
    """Register ``dicts`` under ``name``, replacing what an earlier test put there."""
    unregister(name)
    DatasetCatalog.register(name, lambda: dicts)
    MetadataCatalog.get(name).set(**metadata)
    return name


def unregister(name: str) -> None:
    if name in DatasetCatalog.list():
        DatasetCatalog.remove(name)
    if name in MetadataCatalog.list():
        MetadataCatalog.remove(name)


def evaluate(evaluator: DatasetEvaluator, pairs: Iterable[tuple[dict, dict]]) -> dict | None:
    """Run ``evaluator`` over pairs of a model's input and its output."""
    evaluator.reset()
    for image, output in pairs:
        evaluator.process([image], [output])
    return evaluator.evaluate()


def make_panoptic(folder: Path, num_images: int = 4, **metadata: object) -> str:
    """Write and register ``num_images`` images of 6x8: cat, dog and sky, with a void column."""
    (folder / "gt").mkdir(exist_ok=True)
    gt = np.full((6, 8), 300)
    gt[:2, :4], gt[3:, 2:6], gt[:, 7] = 1000, 2000, 0
    annotations, images = [], []
    for i in range(num_images):
        write_id_map(str(folder / "gt" / f"{i}.png"), gt)
        segments = [
            {"id": id_, "category_id": category, "iscrowd": 0, "area": int((gt == id_).sum())}
            for id_, category in ((1000, 11), (2000, 13), (300, 20))
        ]
        annotations.append({"image_id": i, "file_name": f"{i}.png", "segments_info": segments})
        images.append({"id": i, "file_name": f"{i}.jpg", "height": 6, "width": 8})
    content = {"images": images, "annotations": annotations, "categories": PANOPTIC_CATEGORIES}
    (folder / "gt.json").write_text(json.dumps(content))
    return register(
        PANOPTIC_NAME,
        [],
        panoptic_json=str(folder / "gt.json"),
        panoptic_root=str(folder / "gt"),
        thing_dataset_id_to_contiguous_id={11: 0, 13: 1},
        stuff_dataset_id_to_contiguous_id={20: 2, 40: 3},
        label_divisor=1000,
        **metadata,
    )


def panoptic_output(image_id: int) -> dict:
    """Cat found whole, dog called cat in odd images, sky in part; ids as a model counts them."""
    ids = torch.zeros(6, 8, dtype=torch.int32)
    ids[:, : 4 + image_id % 3] = 3
    ids[:2, :4] = 1
    ids[3:, 2:6] = 2
    segments = [
        {"id": 1, "category_id": 0, "isthing": True, "score": torch.tensor(0.5)},
        {"id": 2, "category_id": 1 - image_id % 2, "isthing": np.bool_(True)},
        {"id": 3, "category_id": 2, "isthing": False, "area": np.int64(7)},
    ]
    return {"panoptic_seg": (ids, segments)}


def panoptic_input(image_id: int) -> dict:
    return {"image_id": image_id, "file_name": f"somewhere/{image_id}.jpg"}


def make_semantic(
    folder: Path, labels: list[np.ndarray], num_classes: int, ignore: int, **metadata
) -> str:
    suffix = "tif" if labels[0].dtype == np.uint16 else "png"
    dicts = []
    for i, image in enumerate(labels):
        path = folder / f"{i}.{suffix}"
        Image.fromarray(image).save(path)
        dicts.append({"file_name": f"{i}.jpg", "sem_seg_file_name": str(path), "image_id": i})
    classes = [f"class {i}" for i in range(num_classes)]
    return register(SEMANTIC_NAME, dicts, stuff_classes=classes, ignore_label=ignore, **metadata)


def semantic_output(classes: np.ndarray, num_classes: int) -> dict:
    """A model's output that predicts ``classes``."""
    one_hot = torch.nn.functional.one_hot(torch.from_numpy(classes.astype(np.int64)), num_classes)
    return {"sem_seg": one_hot.permute(2, 0, 1).float()}


def make_instances(folder: Path, objects: list[tuple], **metadata: object) -> str:
    """One image of 40x40; objects are (category, x, y, w, h)."""
    annotations = []
    for i, (category, x, y, w, h) in enumerate(objects):
        annotations.append(
            {
                "id": i + 1,
                "image_id": 1,
                "category_id": category,
                "bbox": [x, y, w, h],
                "area": w * h,
                "iscrowd": 0,
                "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
            }
        )
    content = {
        "info": {},
        "images": [{"id": 1, "width": 40, "height": 40, "file_name": "1.jpg"}],
        "annotations": annotations,
        "categories": [{"id": 3, "name": "cat"}, {"id": 8, "name": "dog"}],
    }
    (folder / "gt.json").write_text(json.dumps(content))
    return register(INSTANCE_NAME, [], json_file=str(folder / "gt.json"), **metadata)


def rectangle(x: int, y: int, w: int, h: int, size: int = 40) -> torch.Tensor:
    mask = torch.zeros(size, size, dtype=torch.bool)
    mask[y : y + h, x : x + w] = True
    return mask


def instance_output(
    masks: list[torch.Tensor], scores: list[float], classes: list[int]
) -> Instances:
    stacked = torch.stack(masks) if masks else torch.zeros(0, 40, 40, dtype=torch.bool)
    boxes = []
    for mask in stacked:
        y, x = torch.nonzero(mask, as_tuple=True)
        boxes.append([x.min(), y.min(), x.max() + 1, y.max() + 1])
    result = Instances(tuple(stacked.shape[-2:]))
    result.pred_masks = stacked
    result.pred_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    result.scores = torch.tensor(scores, dtype=torch.float32)
    result.pred_classes = torch.tensor(classes, dtype=torch.int64)
    return result
