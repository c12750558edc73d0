import numpy as np
import pytest
from dataset_files import (
    H,
    W,
    annotation,
    coco_json,
    semantic_declaration,
    unique_name,
    write_image,
    write_json,
    write_panoptic,
    write_semantic,
)
from PIL import Image


@pytest.fixture
def tool(load_tool):
    return load_tool("visualize_data")


def pictures(folder) -> list[np.ndarray]:
    files = sorted(folder.rglob("*.png"))
    return [np.array(Image.open(file)) for file in files]


def test_label_maps_are_drawn_in_their_colours(tool, tmp_path):
    write_semantic(tmp_path, count=5)
    colors = [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    name = unique_name()
    file = semantic_declaration(tmp_path / "toy.yaml", name, colors=colors)
    output = tmp_path / "out"
    assert tool.main([str(file), "--output", str(output), "--num-images", "3"]) == 0
    names = sorted(f.name for f in (output / f"{name}_train").iterdir())
    assert names == ["000000_000.png", "000002_002.png", "000004_004.png"]
    picture = pictures(output)[0].astype(int)
    assert picture.shape == (H, W, 3)
    for third, channel in ((slice(0, 5), 0), (slice(6, 10), 1), (slice(11, 16), 2)):
        means = picture[1:, third].mean(axis=(0, 1))
        assert means.argmax() == channel  # 0.6 of the colour over the image


def test_panoptic_and_instance_annotations_are_drawn(tool, tmp_path):
    write_panoptic(tmp_path)
    write_json(tmp_path / "a.json", coco_json([annotation()]))
    tasks = {
        "panoptic": {"images": "images", "annotations": "panoptic.json", "panoptic": "png"},
        "instance": {"images": "images", "annotations": "a.json"},
    }
    original = np.array(Image.open(tmp_path / "images/000.jpg"))
    for task, paths in tasks.items():
        content = {"name": unique_name(), "task": task, "splits": {"val": paths}}
        file = write_json(tmp_path / f"{task}.yaml", content)
        assert tool.main([str(file), "--output", str(tmp_path / task)]) == 0
        (picture,) = pictures(tmp_path / task)
        assert picture.shape == original.shape
        assert not np.array_equal(picture, original)


def test_what_the_mapper_makes_is_drawn_with_its_padding(tool, tmp_path):
    write_semantic(tmp_path)
    name = unique_name()
    file = semantic_declaration(tmp_path / "toy.yaml", name)
    config = tmp_path / "config.yaml"
    config.write_text(
        f"DATASETS: {{DECLARATIONS: ['{file}'], TRAIN: ['{name}_train']}}\n"
        "MODEL: {META_ARCHITECTURE: MaskFormer, SEM_SEG_HEAD: {NUM_CLASSES: 3}}\n"
        "INPUT: {MAPPER: semantic, MIN_SIZE_TRAIN: [24], PAD_SIZE: [32, 48]}\n"
    )
    command = ["--mapper", "--config-file", str(config), "--output", str(tmp_path / "out")]
    assert tool.main(command) == 0
    drawn = pictures(tmp_path / "out")
    assert [p.shape for p in drawn] == [(32, 48, 3)] * 2
    opts = ["INPUT.MAPPER", "detectron2", "INPUT.PAD_SIZE", "()"]
    assert tool.main([*command, "--opts", *opts]) == 0


def test_instances_of_the_mapper_are_drawn(tool, tmp_path):
    write_image(tmp_path / "images" / "000.jpg")
    write_json(tmp_path / "a.json", coco_json([annotation()]))
    name = unique_name()
    splits = {"train": {"images": "images", "annotations": "a.json"}}
    file = write_json(tmp_path / "toy.yaml", {"name": name, "task": "instance", "splits": splits})
    config = tmp_path / "config.yaml"
    config.write_text(
        f"DATASETS: {{DECLARATIONS: ['{file}'], TRAIN: ['{name}_train']}}\n"
        "MODEL: {META_ARCHITECTURE: MaskFormer, SEM_SEG_HEAD: {NUM_CLASSES: 2}}\n"
        "INPUT: {MIN_SIZE_TRAIN: [60]}\n"
    )
    for mapper, with_masks in (("instance", False), ("detectron2", False), ("detectron2", True)):
        output = tmp_path / f"{mapper}_{with_masks}"
        command = ["--mapper", "--config-file", str(config), "--output", str(output)]
        opts = ["INPUT.MAPPER", mapper, "MODEL.MASK_ON", str(with_masks)]
        assert tool.main([*command, "--opts", *opts]) == 0
        (picture,) = pictures(output)
        assert picture.shape == (60, 80, 3)


def test_a_broken_image_is_reported_and_the_rest_drawn(tool, tmp_path, capsys):
    write_semantic(tmp_path)
    (tmp_path / "images/train/000.jpg").write_bytes(b"no image")
    file = semantic_declaration(tmp_path / "toy.yaml", unique_name())
    assert tool.main([str(file), "--output", str(tmp_path / "out")]) == 1
    assert "1 pictures in" in capsys.readouterr().out
    assert len(pictures(tmp_path / "out")) == 1


def test_mistakes_end_with_2(tool, tmp_path, capsys):
    assert tool.main(["camvid_semseg", "--output", str(tmp_path)]) == 2
    assert "there is no data set" in capsys.readouterr().err
    for command in (["--output", "x"], ["camvid_sem_seg_val", "--mapper", "--output", "x"]):
        with pytest.raises(SystemExit):
            tool.main(command)
