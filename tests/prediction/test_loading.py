"""d2seg.load: configs from checkpoints, and what is said where there is none."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from PIL import Image
from torch import Tensor

import d2seg
from d2seg.config.description import describe
from d2seg.prediction import loading
from d2seg.prediction.identification import INDEX_FILE, identify
from families.maskformer_config import small_config

PICTURE = np.random.default_rng(0).integers(0, 255, (50, 70, 3), np.uint8)


@pytest.fixture(scope="module")
def checkpoints(repo_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with "trained.pth", as training writes it, and "older.pth" of the same weights."""
    folder = tmp_path_factory.mktemp("checkpoints")
    cfg = small_config(repo_dir, "coco_panoptic_resnet50")
    cfg.INPUT.MIN_SIZE_TEST = 64
    cfg.MODEL.MASK_CLASSIFICATION.TEST.SEMANTIC_OUTPUT = "labels"  # as train_net.py has it
    torch.manual_seed(0)
    state = build_model(cfg).state_dict()
    torch.save({"model": state, "d2seg": describe(cfg)}, folder / "trained.pth")
    torch.save({"model": state}, folder / "older.pth")
    (folder / "own.yaml").write_text(cfg.dump())
    return folder


def test_a_trained_checkpoint_is_enough(checkpoints: Path, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # from any folder
    predictor = d2seg.load(checkpoints / "trained.pth", device="cpu")
    assert predictor.task == "panoptic"
    assert predictor(PICTURE)["panoptic_seg"][0].shape == (50, 70)
    settings = predictor.model.inference_settings
    assert settings.tasks == ("panoptic",)
    assert settings.thing_ids == {0, 1, 2}  # of the data set, which is not looked for
    assert settings.semantic_output == "scores"


def test_an_older_one_needs_its_config_and_then_gives_the_same(checkpoints: Path) -> None:
    with pytest.raises(ValueError, match=r"older\.pth: its \d+ tensors are of no known layout"):
        d2seg.load(checkpoints / "older.pth")
    file = checkpoints / "own.yaml"
    by_file = d2seg.load(checkpoints / "older.pth", "semantic", "cpu", config=file)
    by_node = d2seg.load(
        str(checkpoints / "older.pth"), "semantic", "cpu", config=d2seg.load_config(str(file))
    )
    stored = d2seg.load(checkpoints / "trained.pth", "semantic", "cpu")
    scores = [predictor(PICTURE)["sem_seg"] for predictor in (by_file, by_node, stored)]
    assert scores[0].shape == (5, 50, 70)
    assert torch.equal(scores[0], scores[1])
    assert torch.equal(scores[0], scores[2])


def test_confidence_and_number_format(checkpoints: Path) -> None:
    predictor = d2seg.load(
        checkpoints / "trained.pth", "panoptic", torch.device("cpu"), torch.bfloat16, 0.25
    )
    assert predictor.confidence_threshold == 0.25
    assert predictor.model.inference_settings.object_mask_threshold == 0.25
    assert next(predictor.model.backbone.parameters()).dtype == torch.bfloat16


def test_pictures_in_batches_give_what_they_give_alone(checkpoints: Path, tmp_path: Path) -> None:
    predictor = d2seg.load(checkpoints / "trained.pth", "semantic", "cpu")
    pictures = [PICTURE, PICTURE[::-1], PICTURE[:40], PICTURE[:, ::-1]]
    for number, picture in enumerate(pictures):
        Image.fromarray(picture[:, :, ::-1]).save(tmp_path / f"{number}.png")
    alone = [predictor(picture)["sem_seg"] for picture in pictures]
    sizes: list[int] = []
    predictor.model.register_forward_pre_hook(lambda _, batch: sizes.append(len(batch[0])))
    together = predictor(tmp_path, batch_size=4)
    assert sizes == [2, 1, 1]  # the third one has another size
    assert [result.path.name for result in together] == ["0.png", "1.png", "2.png", "3.png"]
    for one, result in zip(alone, together, strict=True):
        torch.testing.assert_close(one, result["sem_seg"], atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="batch_size is 0; it is 1 or more"):
        predictor(tmp_path, batch_size=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "panoptik"}, "task is 'panoptik'; it is one of panoptic, semantic"),
        ({"task": "referring"}, r"task is 'referring'; .*trained\.pth, of MaskFormer, offers sem"),
        ({"confidence": 1.5}, "confidence is 1.5; it lies between 0 and 1"),
        ({"dtype": "int8"}, "dtype is 'int8'; it is one of fp32, bf16, fp16"),
        ({"dtype": torch.int8}, r"dtype is torch\.int8; it is one of"),
        ({"device": "gpu"}, "device is 'gpu', which torch does not have here"),
        ({"device": "cuda:99"}, "device is 'cuda:99', which torch does not have here"),
        ({"config": "absent.yaml"}, "config file 'absent.yaml' does not exist"),
    ],
)
def test_mistakes_in_the_call_are_one_line(checkpoints: Path, arguments, message) -> None:
    with pytest.raises(ValueError, match=message) as error:
        d2seg.load(checkpoints / "trained.pth", **arguments)
    assert "\n" not in str(error.value)


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    for nothing in ("", None, 3):
        with pytest.raises(ValueError, match=r"weights is .*; give the path"):
            d2seg.load(nothing)
    with pytest.raises(ValueError, match=r"no checkpoint at .*absent\.pth"):
        d2seg.load(tmp_path / "absent.pth")
    (tmp_path / "broken.pth").write_bytes(b"PK broken")
    with pytest.raises(ValueError, match=r"broken\.pth is truncated or not a checkpoint"):
        d2seg.load(tmp_path / "broken.pth")


def test_the_home_folder_of_paths(
    checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(checkpoints))
    Image.fromarray(PICTURE).save(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    predictor = d2seg.load("~/older.pth", device="cpu", config="~/own.yaml")
    monkeypatch.setenv("HOME", str(tmp_path))
    predictor("~/a.png").draw("~/b.png")
    assert (tmp_path / "b.png").is_file()
    with pytest.raises(ValueError, match=r"no checkpoint at .*/~nobody-of-this-name/a\.pth"):
        d2seg.load("~nobody-of-this-name/a.pth")


def test_a_name_of_the_zoo(
    checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fetched = []

    def find(address: str) -> str:
        fetched.append(address)
        return str(checkpoints / "older.pth")

    monkeypatch.setattr(loading, "find_file", find)
    monkeypatch.setattr(loading, "build_predictor", lambda cfg, task, *_: (cfg, task))
    name = "maskformer/coco_panoptic_resnet50"
    cfg, task = d2seg.load(name, device="cpu")
    assert fetched == [cfg.MODEL.WEIGHTS] == [d2seg.model_zoo.get_checkpoint_url(name)]
    assert (cfg.MODEL.META_ARCHITECTURE, task) == ("MaskFormer", "panoptic")
    assert cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES == 133
    cfg, _ = d2seg.load(name, device="cpu", config=checkpoints / "own.yaml")
    assert cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES == 5
    with pytest.raises(
        ValueError, match=r"no config 'maskformer/coco'.* the nearest are maskformer"
    ):
        d2seg.load("maskformer/coco")
    with pytest.raises(ValueError, match="no address of weights is known for segformer/shapes"):
        d2seg.load("segformer/shapes_semantic_small")
    (tmp_path / "maskformer").mkdir()  # then it is a path
    with pytest.raises(
        ValueError, match=r"maskformer/coco: its \d+ tensors are of no known layout"
    ):
        d2seg.load("maskformer/coco")
    assert fetched[-1] == "maskformer/coco"


def telling_state(name: str) -> dict[str, Tensor]:
    """The tensors by which a published model is recognised."""
    for method in json.loads(INDEX_FILE.read_text()).values():
        for model in method["models"]:
            if any(name in variant for variant in model["configs"]):
                pairs = zip(method["tensors"], model["shapes"], strict=True)
                return {key: torch.zeros(shape) for key, shape in pairs if shape is not None}
    raise AssertionError(name)


def test_a_task_decides_between_configs_of_one_model() -> None:
    content = {"model": telling_state("mask2former/cityscapes_semantic_swin_tiny")}
    with pytest.raises(ValueError, match=r"a\.pth fits 2 configs") as error:
        identify(content, "a.pth", None)
    for part in ("cityscapes_panoptic_swin_tiny", "cityscapes_semantic_swin_tiny", "task= (of pan"):
        assert part in str(error.value)
    for task in ("semantic", "panoptic"):
        assert identify(content, "a.pth", task).stem == f"cityscapes_{task}_swin_tiny"


def test_other_data_sets_of_one_model_need_the_config() -> None:
    content = {"model": telling_state("dstransunet/glas_semantic_base")}
    with pytest.raises(ValueError, match=r"fits 4 configs, .*glas.*: say which by config=$"):
        identify(content, "a.pth", "semantic")


def test_another_number_of_classes_is_said() -> None:
    state = telling_state("segformer/ade20k_semantic_mit_b2")
    state["decode_head.predictor.weight"] = torch.zeros(7, 768, 1, 1)
    with pytest.raises(ValueError, match=r"fit the models of .*mit_b2.* but for 7 clas") as error:
        identify({"model": state}, "a.pth", None)
    call = re.search(r"d2seg\.load_config\(.*\]\)", str(error.value))
    assert eval(call[0], {"d2seg": d2seg}).MODEL.SEM_SEG_HEAD.NUM_CLASSES == 7


def test_backbones_and_strangers_are_told_apart() -> None:
    resnet = {"conv1.weight": torch.zeros(64, 3, 7, 7), "fc.weight": torch.zeros(1000, 2048)}
    resnet |= {"layer1.0.conv1.weight": torch.zeros(64, 64, 1, 1)}
    with pytest.raises(ValueError, match=r"a backbone alone; give it as MODEL\.WEIGHTS"):
        identify({"model": resnet}, "a.pth", None)
    with pytest.raises(ValueError, match=r"of no known layout \(the first: x\.weight\); known are"):
        identify({"model": {"x.weight": torch.zeros(1)}}, "a.pth", None)
