"""Writes small referring data sets, in their authors' layouts and in a user's own."""

import copy
import pickle
from pathlib import Path
from typing import Any

from dataset_files import H, W, annotation, coco_json, write_image, write_json

from d2seg.data.referring.reading import ReferringSource

SQUARE = [[3, 2, 8, 2, 8, 6, 3, 6]]  # 5 x 4 pixels
BAR = {"size": [H, W], "counts": [0, 2 * H, (W - 2) * H]}  # the first two columns


def coco(num_images: int = 2) -> dict[str, Any]:
    """Annotations 1 (square) and 2 (bar) of image 0 and 3 (square) of image 1."""
    annotations = [
        annotation(segmentation=SQUARE),
        annotation(segmentation=BAR),
        annotation(segmentation=SQUARE, image_id=1),
    ]
    return copy.deepcopy(coco_json(annotations, num_images))


def ref(number: int, image: int, target: Any, *sentences: str, **keys: Any) -> dict[str, Any]:
    """An entry of ``refs(unc).p``; sentences are numbered 10 x ``number`` and up."""
    return {
        "ref_id": number,
        "ann_id": target,
        "image_id": image,
        "category_id": 5,
        "file_name": f"COCO_train2014_{image:012d}_{target}.jpg",
        "split": "train",
        "sent_ids": [10 * number + i for i in range(len(sentences))],
        "sentences": [
            {"sent_id": 10 * number + i, "raw": s.upper(), "sent": s, "tokens": s.split()}
            for i, s in enumerate(sentences)
        ],
        **keys,
    }


def own(image: int, target: Any, *sentences: str) -> dict[str, Any]:
    return {"image_id": image, "annotation_id": target, "sentences": list(sentences)}


def write_referring(
    root: Path, expressions: Any, name: str = "expressions.json", content: Any = None
) -> dict[str, str]:
    """Two images, ``instances.json``, and the expressions; the paths of a split."""
    for number in range(2):
        write_image(root / "images" / f"{number:03d}.jpg")
    write_json(root / "instances.json", coco() if content is None else content)
    file = root / name
    if isinstance(expressions, bytes):
        file.write_bytes(expressions)
    elif file.suffix == ".p":
        file.write_bytes(pickle.dumps(expressions, 2))
    else:
        write_json(file, expressions)
    return {
        "images": str(root / "images"),
        "annotations": str(root / "instances.json"),
        "expressions": str(file),
    }


def source(root: Path, expressions: Any, name: str = "refs(unc).p", **keys: Any) -> ReferringSource:
    split = keys.pop("split", "train")
    paths = write_referring(root, expressions, name, **keys)
    return ReferringSource("toy_train", **paths, split=split)
