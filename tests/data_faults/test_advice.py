"""Messages name the true cause, and a remedy that leads out."""

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dataset_files import (
    semantic_declaration,
    unique_name,
    write_image,
    write_json,
    write_png,
    write_semantic,
)
from mapper_samples import make_cfg
from PIL import Image

from d2seg.checkpoint.files import read_checkpoint
from d2seg.cli import check
from d2seg.data.bands import read_bands
from d2seg.data.build import build_train_loader
from d2seg.data.datasets.declaration import read_declaration, register_declarations
from d2seg.data.datasets.object_ids import read_table
from d2seg.data.datasets.selection import Selection
from d2seg.data.dicts import load_dicts
from d2seg.data.inspection.hints import undeclared_hints, value_hints
from d2seg.data.json_files import read_json
from d2seg.data.label_maps import read_id_map, read_labels
from d2seg.data.label_values import LabelValues
from d2seg.data.mappers import build_mapper
from d2seg.data.medical.files import read_slice, volume_shape
from d2seg.data.referring.references import read_references
from d2seg.data.xml_files import read_xml
from d2seg.engine.prepare import setup
from d2seg.pictures import read_image, shown_size
from d2seg.visualization.video_reading import UnreadableError, VideoReader

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'4d' * 32}\nsize 12345\n"
READERS: dict[str, Callable[[Path], object]] = {
    "a.jpg": lambda file: read_image(str(file), "RGB"),
    "size.png": lambda file: shown_size(str(file)),
    "labels.png": read_labels,
    "ids.png": lambda file: read_id_map(str(file)),
    "bands.tif": lambda file: read_bands(str(file)),
    "bands.npy": lambda file: read_bands(str(file)),
    "a.json": read_json,
    "refs.json": lambda file: read_references(file, "train"),
    "refs.p": lambda file: read_references(file, "train"),
    "a.xml": read_xml,
    "a.csv": lambda file: read_table(file, ["cell"]),
    "list.txt": lambda file: Selection(list_file=file).pick(["a"]),
    "a.yaml": read_declaration,
    "declared.json": read_declaration,
    "a.npz": lambda file: read_slice(str(file)),
    "a.h5": lambda file: volume_shape(str(file)),
    "a.pth": lambda file: read_checkpoint(str(file)),
    "a.pkl": lambda file: read_checkpoint(str(file)),
    "a.mp4": VideoReader,
}


@pytest.mark.parametrize("name", READERS)
def test_what_git_lfs_has_not_fetched_is_called_so(tmp_path, name: str) -> None:
    (tmp_path / name).write_text(POINTER)
    message = f"{re.escape(str(tmp_path / name))}.*(?i:git.lfs pointer); .*git lfs pull"
    with pytest.raises((ValueError, UnreadableError), match=message) as raised:
        READERS[name](tmp_path / name)
    assert "\n" not in str(raised.value)


def semantic(root: Path, **keys: object) -> str:
    return register_declarations([semantic_declaration(root / "a.json", unique_name(), **keys)])[0]


@pytest.mark.parametrize("suffix", [".gif", ".npy", ".json", ".ppm"])
def test_labels_of_another_format_are_not_called_missing(tmp_path, capsys, suffix: str) -> None:
    write_semantic(tmp_path)
    for label in (tmp_path / "labels/train").glob("*.png"):
        label.rename(label.with_suffix(suffix))
    file = semantic_declaration(tmp_path / "a.json", unique_name())
    [name] = register_declarations([file])
    with pytest.raises(ValueError, match=rf"00\d\{suffix} is none: convert it to PNG"):
        load_dicts(name)
    write_image(tmp_path / "images/train/a.jpg")
    write_png(tmp_path / "labels/train/a.png", np.zeros((12, 16), np.uint8))
    assert check.main([str(file)]) == 1
    assert f"image without label map: {tmp_path}/images/train/000.jpg: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("old", "new", "hint"),
    [
        ("images/train/000.jpg", "images/train/000.HEIC", r"000\.HEIC is not read: convert it to"),
        ("images/train/000.jpg", "images/train/000.dcm", r"000\.dcm is not read: convert it to"),
        (
            "images/train/a.jpg",
            "images/train/A.jpg",
            r"a\.png differs from it in case, spaces or U",
        ),
        ("labels/train/a.png", "labels/train/a .png", r"a \.png differs from it in case, spaces"),
        (
            "labels/train/\xe9.png",
            "labels/train/e\u0301.png",
            "e\u0301.png differs from it in case",
        ),
        (
            "labels/train/000.png",
            "labels/train/000_mask.png",
            r"_mask\.png is one where label_suffix i",
        ),
    ],
)
@pytest.mark.parametrize("both", [False, True])
def test_what_a_file_without_a_partner_may_belong_to(
    tmp_path, capsys, caplog, old: str, new: str, hint: str, both: bool
) -> None:
    write_semantic(tmp_path)
    stem = Path(old).stem
    for file in (tmp_path / "images/train/000.jpg", tmp_path / "labels/train/000.png"):
        file.rename(file.with_stem(stem))
    (tmp_path / old).rename(tmp_path / new)
    if both:  # there is no pair at all
        (tmp_path / "images/train/001.jpg").unlink()
        (tmp_path / "labels/train/001.png").unlink()
    file = semantic_declaration(tmp_path / "a.json", unique_name())
    [name] = register_declarations([file])
    if both:
        with pytest.raises(ValueError, match=f"no image of .*{hint}"):
            load_dicts(name)
    else:
        load_dicts(name)
        assert re.search(f"1 .* are left out, as .*{hint}", caplog.text)
    assert check.main([str(file)]) == 1
    assert re.search(hint, capsys.readouterr().out)


def test_jpeg_labels_ask_for_values(tmp_path) -> None:
    write_semantic(tmp_path)
    for label in (tmp_path / "labels/train").glob("*.png"):
        Image.open(label).save(label.with_suffix(".jpg"))
        label.unlink()
    with pytest.raises(ValueError, match=r"000\.jpg: a label map in JPEG .*nearest_value: true"):
        load_dicts(semantic(tmp_path))


@pytest.mark.parametrize("values", [set(range(20)), set(range(1, 9)), {0, 1, 2, 3, 4}])
def test_numbered_objects_are_told_from_grey_levels(values: set[int]) -> None:
    [found] = value_hints(Counter(dict.fromkeys(values, 9)), 2, 255)
    assert "if they number objects, declare task: instance, or for semantic segmentation " in found
    assert "values: {0: background, other: object}" in found


def test_a_folder_of_numbered_pngs_is_declared_as_labels(tmp_path) -> None:
    content = {"name": "toy", "task": "instance"}
    content["splits"] = {"train": {"images": "images/train", "annotations": "labels/train"}}
    write_semantic(tmp_path)
    file = write_json(tmp_path / "a.json", content)
    with pytest.raises(ValueError, match=r"labels/train is a folder; .*declared as 'labels'"):
        read_declaration(file)


@pytest.mark.parametrize(
    ("values", "num_classes", "hint"),
    [
        ({*range(12)}, 11, "if 11 means unlabelled, declare ignore_label: 11; if 0 does"),
        ({0, 1, 2, 30}, 3, "if 30 means unlabelled, declare ignore_label: 30"),
        ({0, 1, 254}, 3, "if 254 means unlabelled, declare ignore_label: 254"),
        ({0, 1, -1}, 2, "prepare_own_labels.py --map -1:255"),
        ({1, 2, 3}, 3, "--reduce-zero-label"),
    ],
)
def test_an_undeclared_ignore_label_is_named(values, num_classes: int, hint: str) -> None:
    [found] = value_hints(Counter(dict.fromkeys(values, 9)), num_classes, 255)
    assert hint in found


@pytest.mark.parametrize("value", [255, 11, 128])
def test_an_undeclared_value_is_named(value: int) -> None:
    [found] = undeclared_hints(Counter({value: 3}), LabelValues(((0, 0), (1, 1)), (0, 1)))
    assert f"{value} is not among the declared values: if it means unlabelled, declare" in found


@pytest.mark.parametrize("mapper", ["panoptic", "instance"])
def test_the_wrong_mapper_is_named_and_not_crowd(tmp_path, mapper: str) -> None:
    write_semantic(tmp_path)
    cfg = make_cfg(mapper, 3)
    cfg.DATASETS.TRAIN = (semantic(tmp_path),)
    with pytest.raises(
        ValueError, match=rf"'{mapper}', but no image .*; set INPUT\.MAPPER semantic"
    ):
        build_train_loader(cfg)


@pytest.mark.parametrize("value", [-1, -100, 65536])
def test_an_ignore_value_that_no_file_can_hold_is_no_class(tmp_path, value: int) -> None:
    cfg = make_cfg("semantic", 3)
    cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE = value
    with pytest.raises(ValueError, match=f"IGNORE_VALUE is {value}, which a label map cannot hold"):
        build_mapper(cfg, is_train=True)
    write_semantic(tmp_path)
    file = semantic_declaration(tmp_path / "a.json", "toy", ignore_label=value)
    with pytest.raises(ValueError, match=f"ignore_label is {value}, which a label map cannot hold"):
        read_declaration(file)


@pytest.mark.parametrize("value", [True, "255", 2.0])
def test_an_ignore_label_that_is_no_number(tmp_path, value: object) -> None:
    write_semantic(tmp_path)
    file = tmp_path / "a.yaml"
    shown = {True: "true", "255": "'255'"}.get(value, value)
    file.write_text(
        semantic_declaration(tmp_path / "a.json", "toy").read_text()[:-1]
        + f', "ignore_label": {shown}}}'
    )
    with pytest.raises(ValueError, match=f"ignore_label is {value!r}; it is a number"):
        read_declaration(file)


@pytest.mark.parametrize("size", [(1, 3000), (3000, 1), (1, 1), (2, 5000)])
def test_thin_pictures_are_mapped_or_named(tmp_path, size: tuple[int, int]) -> None:
    image = write_image(tmp_path / "thin.png", size)
    label = write_png(tmp_path / "label.png", np.zeros(size, np.uint8))
    entry = {"file_name": str(image), "sem_seg_file_name": str(label), "image_id": 0}
    cfg = make_cfg("semantic", 3)
    assert build_mapper(cfg, is_train=True)(dict(entry))["image"].shape[0] == 3
    cfg.INPUT.CROP.ENABLED, cfg.INPUT.CROP.TYPE = True, "relative_range"
    cfg.INPUT.CROP.SIZE = [-3.0, 0.5]
    with pytest.raises(ValueError, match=rf"thin\.png: its {size[0]}x{size[1]} pixels"):
        build_mapper(cfg, is_train=True)(dict(entry))


def test_missing_data_come_before_missing_weights(tmp_path, monkeypatch) -> None:
    from argparse import Namespace

    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    opts = ["MODEL.DEVICE", "cpu", "OUTPUT_DIR", str(tmp_path / "out")]
    args = Namespace(opts=opts, eval_only=False, resume=False, num_gpus=1)
    args.config_file = "configs/maskformer/ade20k_semantic_resnet50.yaml"
    with pytest.raises(ValueError, match=r"data set 'ade20k\w+': there is no .*; prepare it with"):
        setup(args)
