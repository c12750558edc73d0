"""d2seg predict --format: the command, against the evaluation of the same model."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.modeling import build_model
from PIL import Image
from toy_pictures import write_pictures

from d2seg.cli import main
from d2seg.config.loading import load_config
from d2seg.data.label_maps import read_id_map, read_labels
from d2seg.data.mappers import build_mapper
from d2seg.prediction.building import build_predictor
from d2seg.prediction.selection import label_map
from families.maskformer_config import small_config

NUM_PICTURES = 5
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def folder(repo_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small MaskFormer with random weights, config.yaml and model.pth, and pictures in in/."""
    folder = tmp_path_factory.mktemp("predict")
    cfg = small_config(repo_dir, "coco_panoptic_resnet50")
    cfg.INPUT.MIN_SIZE_TEST = 64
    cfg.MODEL.DEVICE = "cpu"
    cfg.DATASETS.TEST = ("coco_2017_val_panoptic",)
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 133
    cfg.TEST.DETECTIONS_PER_IMAGE = 10
    cfg.MODEL.MASK_CLASSIFICATION.TEST.OBJECT_MASK_THRESHOLD = 0.0
    torch.manual_seed(0)
    torch.save({"model": build_model(cfg).state_dict()}, folder / "model.pth")
    (folder / "config.yaml").write_text(cfg.dump())
    write_pictures(folder / "in", NUM_PICTURES)
    return folder


@pytest.fixture
def run(folder: Path, capsys: pytest.CaptureFixture) -> Run:
    """The exit code, stdout and stderr of a call."""

    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = main(["predict", *(str(argument) for argument in arguments)])
        except SystemExit as end:
            code = end.code
        return code, *capsys.readouterr()

    return call


def model_arguments(folder: Path) -> tuple[object, ...]:
    return ("--config", folder / "config.yaml", "--weights", folder / "model.pth")


def evaluated(folder: Path, task: str) -> list[tuple[dict, dict]]:
    """What an evaluation gives to its evaluators: inputs of the mapper, outputs of the model."""
    cfg = load_config(str(folder / "config.yaml"))
    cfg.MODEL.WEIGHTS = str(folder / "model.pth")
    predictor, mapper = build_predictor(cfg, task), build_mapper(cfg, is_train=False)
    pairs = []
    for path in sorted((folder / "in").iterdir()):
        example = mapper(
            {"file_name": str(path), "image_id": int(path.stem), "height": 64, "width": 64}
        )
        with torch.inference_mode():
            (output,) = predictor.model([example])
        pairs.append((example, output))
    return pairs


def test_instances_are_those_that_are_scored(run: Run, folder: Path, tmp_path: Path) -> None:
    code, out, _ = run(
        *model_arguments(folder),
        *("--input", folder / "in", "--output", tmp_path, "--format", "coco", "--batch", 1),
    )
    assert (code, "5 predicted into" in out) == (0, True)
    results = json.loads((tmp_path / "coco_results.json").read_text())
    metadata = MetadataCatalog.get("coco_2017_val_panoptic")
    ids = {v: k for k, v in metadata.thing_dataset_id_to_contiguous_id.items()}
    want = []
    for example, output in evaluated(folder, "instance"):
        for record in instances_to_coco_json(output["instances"], example["image_id"]):
            want.append({**record, "category_id": ids[record["category_id"]]})
    assert len(want) == NUM_PICTURES * 10  # TEST.DETECTIONS_PER_IMAGE
    assert results == want


def test_panoptic_in_shards_and_merged(run: Run, folder: Path, tmp_path: Path) -> None:
    common = (
        *model_arguments(folder),
        *("--input", folder / "in", "--output", tmp_path, "--format", "panoptic"),
        *("--batch", 1, "--part-size", 2),
    )
    code, out, _ = run(*common, "--shard", "1/2")
    assert (code, f"d2seg predict --merge {tmp_path}" in out) == (0, True)
    code, _, err = run("--merge", tmp_path)
    assert (code, "lacks 2 of 3 parts, the first is 0" in err, err.count("\n")) == (2, True, 1)
    assert run(*common, "--shard", "0/2")[0] == 0
    assert run("--merge", tmp_path)[0] == 0
    content = json.loads((tmp_path / "panoptic.json").read_text())
    pairs = evaluated(folder, "panoptic")
    for annotation, (example, output) in zip(content["annotations"], pairs, strict=True):
        assert annotation["image_id"] == example["image_id"]
        ids = read_id_map(str(tmp_path / "panoptic" / annotation["file_name"]))
        want, segments = output["panoptic_seg"]
        assert (ids == want.numpy()).all()
        assert [s["id"] for s in annotation["segments_info"]] == [s["id"] for s in segments]
    # the same parts, in another format
    assert run("--merge", tmp_path, "--format", "labelme")[0] == 0
    assert len(list((tmp_path / "labelme").iterdir())) == NUM_PICTURES
    code, _, err = run("--merge", tmp_path, "--format", "masks")
    assert (code, "the format masks is for semantic" in err) == (2, True)


def test_label_maps_are_those_that_are_scored(run: Run, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(
        "".join(f"{folder}/in/000{i}.png\n" for i in range(1, 6)) + f"{folder}/in/absent.png\n"
    )
    code, out, _ = run(
        *model_arguments(folder),
        *("--input", tmp_path / "list.txt", "--output", tmp_path / "out", "--format", "masks"),
    )
    assert (code, "5 predicted" in out, "1 failed" in out) == (1, True, True)
    assert "absent.png,[Errno 2] No such file" in (tmp_path / "out/failed.csv").read_text()
    for example, output in evaluated(folder, "semantic"):
        labels = read_labels(tmp_path / "out/masks" / Path(example["file_name"]).name)
        want = label_map(output["sem_seg"]).numpy()
        assert want.max() > 0
        assert np.mean(labels == want) > 0.999  # of pictures in batches, up to rounding


def test_a_second_call_is_of_the_same_run_or_refused(
    run: Run, folder: Path, tmp_path: Path
) -> None:
    common = ("--input", folder / "in", "--output", tmp_path, "--format", "masks")
    assert run(*model_arguments(folder), *common)[0] == 0
    assert run(*model_arguments(folder), *common)[0] == 0  # nothing is left to do
    other = ("TEST.DETECTIONS_PER_IMAGE", 5)
    code, _, err = run(*model_arguments(folder), *common, "--opts", *other)
    assert (code, err.count("\n")) == (2, 1)
    assert "is the folder of another run: TEST.DETECTIONS_PER_IMAGE is 10 there, not 5" in err
    torch.save({"model": {}}, tmp_path / "other.pth")
    code, _, err = run(
        "--config", folder / "config.yaml", "--weights", tmp_path / "other.pth", *common
    )
    assert (code, "the weights are others" in err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--shard", "2/2"), "shards count from 0 to 1 of 2"),
        (("--batch", "0"), "--batch is '0'; it is auto, or a number from 1"),
        (("--part-size", "0"), "--part-size is 0"),
        (("--expression", "a dog"), "--format takes no --expression"),
        (("--input", "absent"), "--input absent does not exist"),
        (("--input", "~nobody-here/in"), "there is no home folder ~nobody-here"),
        (("--input", "a", "b"), "--format needs --output and one --input"),
        (("--format", "masks", "--task", "instance"), "--format masks is for semantic; instance"),
        (("--confidence-threshold", "2"), "--confidence-threshold is 2.0"),
        (("--weights", ""), "there are no weights"),
        (("--weights", "absent.pth"), "no checkpoint at"),
        (("--output", "IN/out"), "lies in --input"),
        (("--output", "IN/0001.png"), "is a file; give a folder"),
    ],
)
def test_mistakes_are_said_in_one_line(
    run: Run, folder: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    given = [item.replace("IN", str(folder / "in")) for item in arguments]
    code, _, err = run(
        *model_arguments(folder),
        *("--input", folder / "in", "--output", tmp_path / "out", "--format", "coco", *given),
    )
    assert (code, err.count("\n")) == (2, 1), err
    assert message in err
    assert not (tmp_path / "out").exists()


def test_what_needs_a_format(run: Run, folder: Path, tmp_path: Path) -> None:
    common = ("--input", folder / "in", "--output", tmp_path / "out")
    code, _, err = run(*model_arguments(folder), *common, "--shard", "0/2")
    assert (code, "--shard and --part-size go with --format" in err) == (2, True)
    code, _, err = run("--merge", tmp_path)
    assert (code, "is no folder of predictions" in err, err.count("\n")) == (2, True, 1)
    # without a format all is as it was
    assert run(*model_arguments(folder), *common, "--task", "semantic")[0] == 0
    assert len(json.loads((tmp_path / "out/predictions.json").read_text())) == NUM_PICTURES
    assert np.asarray(Image.open(tmp_path / "out/0001.png")).shape == (64, 64)
