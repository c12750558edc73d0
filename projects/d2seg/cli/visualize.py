"""Draws the ground truth of data sets into PNG files.

    python tools/visualize_data.py camvid_sem_seg_train --output pictures
    python tools/visualize_data.py my_data.yaml --output pictures
    python tools/visualize_data.py --mapper --config-file configs/... --output pictures

With --mapper, what the config's training mapper makes of it: augmented, cropped and padded.
"""

import copy
import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import Metadata
from detectron2.data import detection_utils as utils
from detectron2.utils.visualizer import ColorMode, Visualizer
from PIL import Image, ImageDraw
from tqdm import tqdm

from ..data.catalog import kind_of, metadata_of
from ..data.datasets import distinct_colors
from ..data.dicts import load_dicts
from ..data.label_maps import read_id_map, read_labels
from ..data.mappers import build_mapper
from ..data.medical.files import is_array_file, read_slice
from ..data.readers import PictureReader, build_reader
from ..data.segmentations import expression_mask
from ..engine.output_folder import check_folder
from ..names import path_inside, printable
from ..pictures import read_image
from .dataset_arguments import dataset_parser, parse, read_targets
from .messages import Parser, report_mistake, show_warnings, user_path

Draw = Callable[[dict[str, Any], Metadata], np.ndarray]
_LONGEST_STEM = 60  # characters, of 4 bytes at most; a file's name has 255


def make_parser(prog: str | None = None) -> Parser:
    parser = dataset_parser(__doc__, prog)
    parser.add_argument("--output", type=user_path, required=True, help="folder of the pictures")
    parser.add_argument("--num-images", type=int, default=20, help="of each data set; default: 20")
    parser.add_argument("--mapper", action="store_true", help="draw the config's training samples")
    return parser


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """
    Returns:
        The exit code.
    """
    show_warnings()
    parser = make_parser(prog)
    args = parse(parser, argv)
    if args.mapper and args.config_file is None:
        parser.error("--mapper needs --config-file")
    if args.num_images < 1:
        parser.error(f"--num-images is {args.num_images}; it is at least 1")
    try:
        names, cfg = read_targets(args, splits=("TRAIN",))
        for name in names:
            path_inside(args.output, name, "name of a data set")
        check_folder(str(args.output), "--output")
        reader = None if cfg is None else build_reader(cfg)
        draw = mapper_drawing(cfg) if args.mapper else partial(draw_ground_truth, reader=reader)
        failed = sum(draw_dataset(name, draw, args.output, args.num_images) for name in names)
    except (ValueError, OSError) as error:  # the latter: the disk is full
        return report_mistake(error)
    return int(failed > 0)


def draw_dataset(name: str, draw: Draw, output: Path, num_images: int) -> int:
    """Draw images evenly spread over a data set; return how many could not be drawn."""
    metadata, entries = metadata_of(name), load_dicts(name)
    folder = path_inside(output, name, "name of a data set")
    folder.mkdir(parents=True, exist_ok=True)
    chosen = np.unique(np.linspace(0, len(entries) - 1, num_images).astype(int))
    failed = 0
    for number in tqdm(chosen, desc=printable(name), unit="image"):
        entry = entries[number]
        try:
            picture = draw(copy.deepcopy(entry), metadata)
        except (OSError, ValueError) as error:
            tqdm.write(printable(f"{entry['file_name']}: {error}"))
            failed += 1
            continue
        stem = Path(entry["file_name"]).stem[:_LONGEST_STEM]
        Image.fromarray(picture).save(folder / f"{number:06d}_{stem}.png")
    print(printable(f"{name}: {len(chosen) - failed} pictures in {folder}"))
    return failed


def draw_ground_truth(
    entry: dict[str, Any], metadata: Metadata, reader: PictureReader | None = None
) -> np.ndarray:
    """(H, W, 3) uint8 RGB: expressions or segments if there are any, else instances, else the label
    map. ``reader``: of the pictures; None: of those that have three channels."""
    if is_array_file(entry["file_name"]):
        return draw_slice(entry, metadata)
    file = entry["file_name"]
    image = read_image(file, "RGB") if reader is None else reader.shown(reader(file))
    if "expressions" in entry:
        return picture_of_expressions(image, entry["expressions"])
    visualizer = Visualizer(image, metadata, instance_mode=ColorMode.SEGMENTATION)
    size = image.shape[:2]
    if "pan_seg_file_name" in entry:
        ids = torch.from_numpy(read_id_map(entry["pan_seg_file_name"]).astype(np.int64))
        _check_size(ids.shape, size, entry["pan_seg_file_name"])
        visualizer.draw_panoptic_seg(ids, entry["segments_info"], area_threshold=0, alpha=0.5)
    elif "annotations" in entry:
        entry.pop("sem_seg_file_name", None)
        if entry.get("height") is not None:
            _check_size((entry["height"], entry["width"]), size, "the size in the annotations")
        visualizer.draw_dataset_dict(entry)
    elif "sem_seg_file_name" in entry:
        labels = read_labels(entry["sem_seg_file_name"], entry.get("label_values"))
        _check_size(labels.shape, size, entry["sem_seg_file_name"])
        visualizer.draw_sem_seg(labels.astype(np.int64), area_threshold=0, alpha=0.6)
    return visualizer.output.get_image()


def _check_size(found: Sequence[int], size: Sequence[int], what: str) -> None:
    if tuple(found) != tuple(size):
        raise ValueError(
            f"{what} is {found[0]}x{found[1]}, the image is {size[0]}x{size[1]} (height x width); "
            "make them of one size"
        )


def picture_of_expressions(
    image: np.ndarray, expressions: list[dict[str, Any]], masks: np.ndarray | None = None
) -> np.ndarray:
    """(H + strip, W, 3) uint8 RGB: numbered masks, and below what is said of each, or of nothing.

    ``masks`` is bool (E, H, W); None: those of the expressions.
    """
    if masks is None:
        masks = [expression_mask(expression, image.shape[:2]) for expression in expressions]
    shown: dict[bytes, np.ndarray] = {}  # several sentences may mean the same
    lines = []
    for expression, mask in zip(expressions, masks, strict=True):
        key = np.packbits(mask).tobytes()
        if mask.any():
            shown.setdefault(key, mask)
        number = list(shown).index(key) + 1 if key in shown else "nothing"
        lines.append(f"{number}: {expression['sentence']}")
    visualizer = Visualizer(image)
    visualizer.overlay_instances(
        masks=list(shown.values()) or None,
        labels=[str(number) for number in range(1, len(shown) + 1)],
        assigned_colors=[np.array(color) / 255 for color in distinct_colors(len(shown))],
        alpha=0.4,
    )
    return np.concatenate([visualizer.output.get_image(), text_strip(lines, image.shape[1])])


def text_strip(lines: Sequence[str], width: int) -> np.ndarray:
    """(h, width, 3) uint8: black on white, with long lines broken."""
    broken = [part for line in lines for part in textwrap.wrap(line, max(width // 6, 10))]
    strip = Image.new("RGB", (width, 14 * len(broken) + 4), "white")
    ImageDraw.Draw(strip).multiline_text((3, 1), "\n".join(broken), fill="black", spacing=3)
    return np.asarray(strip)


def draw_slice(entry: dict[str, Any], metadata: Metadata) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a medical slice, its background left clear."""
    image, labels = read_slice(entry["file_name"], entry.get("slice_index"))
    grey = np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)
    visualizer = Visualizer(
        np.stack([grey] * 3, axis=-1), metadata, instance_mode=ColorMode.SEGMENTATION
    )
    shown = np.where(labels == 0, len(metadata.stuff_classes), labels)  # no class: not drawn
    visualizer.draw_sem_seg(shown, area_threshold=0, alpha=0.6)
    return visualizer.output.get_image()


def mapper_drawing(cfg: CfgNode) -> Draw:
    mapper, reader = build_mapper(cfg, is_train=True), build_reader(cfg)

    def draw(entry: dict[str, Any], metadata: Metadata) -> np.ndarray:
        sample = mapper(entry)
        if sample is None:
            raise ValueError("the mapper leaves this image out")
        if cfg.INPUT.MAPPER == "slice":  # values of 0..1
            image = (255 * sample["image"].clamp(0, 1)).expand(3, -1, -1)
        else:
            image = sample["image"]
            image = torch.from_numpy(reader.shown(image.permute(1, 2, 0).numpy())).permute(2, 0, 1)
        return draw_sample({**sample, "image": image}, metadata, "RGB")

    return draw


def draw_sample(sample: dict[str, Any], metadata: Metadata, image_format: str) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a mapper's training sample: the label map, or else the masks."""
    image = utils.convert_image_to_rgb(sample["image"].permute(1, 2, 0), image_format)
    if "expression_masks" in sample:
        return picture_of_expressions(
            image, sample["expressions"], sample["expression_masks"].numpy()
        )
    visualizer = Visualizer(image, metadata, instance_mode=ColorMode.SEGMENTATION)
    if "sem_seg" in sample:
        visualizer.draw_sem_seg(sample["sem_seg"], area_threshold=0, alpha=0.6)
    if "instances" in sample and kind_of(metadata) != "semantic":
        instances = sample["instances"]
        classes = instances.gt_classes.tolist()
        names, colors = metadata.get("thing_classes"), metadata.get("thing_colors")
        has_masks = instances.has("gt_masks")
        visualizer.overlay_instances(
            masks=instances.gt_masks if has_masks and classes else None,
            boxes=None if has_masks and kind_of(metadata) == "panoptic" else instances.gt_boxes,
            labels=[names[c] for c in classes] if names else None,
            assigned_colors=[np.array(colors[c]) / 255 for c in classes] if colors else None,
        )
    return visualizer.output.get_image()
