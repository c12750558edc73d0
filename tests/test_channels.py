"""Models of every method on pictures of other than three channels."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from PIL import Image
from torch import nn

from d2seg.checkpoint import Checkpointer
from d2seg.config.loading import load_config
from d2seg.data.mappers import build_mapper
from d2seg.engine.cost import count_operations, made_up_batch
from d2seg.engine.solver import build_optimizer
from families import (
    dstransunet_config,
    mask2former_config,
    maskformer_config,
    segformer_config,
    setr_config,
    topformer_config,
    transunet_config,
)
from families.per_pixel import shrink
from families.point_rend_reference import our_semantic_config

BANDS = 5


def resnet(cfg: CfgNode) -> None:
    cfg.MODEL.RESNETS.DEPTH, cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 18, 64


def swin(repo_dir: Path) -> CfgNode:
    cfg = maskformer_config.small_config(repo_dir)
    cfg.MODEL.BACKBONE.NAME = "build_swin_backbone"
    cfg.MODEL.SWIN.EMBED_DIM, cfg.MODEL.SWIN.NUM_HEADS = 16, [1, 2, 2, 2]
    cfg.MODEL.SWIN.DEPTHS = [1, 1, 1, 1]
    return cfg


def timm(repo_dir: Path) -> CfgNode:
    cfg = maskformer_config.small_config(repo_dir)
    cfg.MODEL.BACKBONE.NAME, cfg.MODEL.TIMM.NAME = "build_timm_backbone", "test_convnext"
    return cfg


def point_rend(repo_dir: Path) -> CfgNode:
    cfg = our_semantic_config("SemSegFPNHead")
    shrink(cfg)
    return cfg


CONFIGS: dict[str, Callable[[Path], CfgNode]] = {
    "maskformer": maskformer_config.small_config,
    "maskformer swin": swin,
    "maskformer timm": timm,
    "mask2former": mask2former_config.small_config,
    "pointrend": point_rend,
    "segformer": segformer_config.small_config,
    "setr": setr_config.small_config,
    "topformer": topformer_config.small_config,
    "transunet": transunet_config.small_config,
    "dstransunet": dstransunet_config.small_config,
}


def widened(cfg: CfgNode, number: int) -> CfgNode:
    cfg = cfg.clone()
    cfg.defrost()
    cfg.INPUT.READER = "bands"
    for key in ("PIXEL_MEAN", "PIXEL_STD"):
        values = list(cfg.MODEL[key])
        cfg.MODEL[key] = (values + [100.0] * number)[:number]
    return cfg


def scores(model: nn.Module, image: torch.Tensor) -> torch.Tensor:
    example = {"image": image, "height": image.shape[1], "width": image.shape[2]}
    with torch.no_grad():
        return model.eval()([example])[0]["sem_seg"]


@pytest.mark.parametrize("name", CONFIGS)
def test_zero_widened_weights_give_the_scores_of_three_channels(
    repo_dir: Path, tmp_path: Path, name: str
) -> None:
    cfg = CONFIGS[name](repo_dir)
    cfg.MODEL.DEVICE, cfg.TEST.TASKS = "cpu", ["semantic"]
    torch.manual_seed(0)
    model = build_model(cfg)
    torch.save({"model": model.state_dict()}, tmp_path / "m.pth")
    image = torch.randint(0, 256, (BANDS, 64, 64), dtype=torch.uint8)
    expected = scores(model, image[:3])
    wide = build_model(widened(cfg, BANDS))
    Checkpointer(wide, new_channels="zero").load(str(tmp_path / "m.pth"))
    torch.testing.assert_close(scores(wide, image), expected, atol=1e-4, rtol=1e-4)
    assert not torch.equal(scores(build_model(widened(cfg, BANDS)), image), expected)


def files_of_bands(folder: Path) -> list[dict]:
    """Noise in four bands; the fifth says the class, of 16 bits."""
    rng, entries = np.random.default_rng(0), []
    for number in range(6):
        labels = np.zeros((64, 64), np.uint8)
        top, left = rng.integers(0, 24, 2)
        labels[top : top + 40, left : left + 40] = 1
        bands = rng.integers(0, 65536, (64, 64, BANDS)).astype(np.uint16)
        bands[..., 4] = np.where(labels, 50000, 12000)
        np.save(folder / f"{number}.npy", bands)
        Image.fromarray(labels).save(folder / f"{number}.png")
        files = {
            "file_name": f"{folder}/{number}.npy",
            "sem_seg_file_name": f"{folder}/{number}.png",
        }
        entries.append(files)
    return entries


def band_config(repo_dir: Path) -> CfgNode:
    cfg = widened(segformer_config.small_config(repo_dir), BANDS)
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 2
    cfg.INPUT.MAPPER, cfg.INPUT.CROP.ENABLED, cfg.INPUT.COLOR_AUG_SSD = "semantic", False, False
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.PAD_SIZE = (64,), ()
    cfg.SOLVER.BASE_LR = 2e-3
    return cfg


def test_what_one_band_alone_shows_is_learnt(repo_dir: Path, tmp_path: Path) -> None:
    """On four pictures, for two others; without that band nothing is left of it."""
    cfg, entries = band_config(repo_dir), files_of_bands(tmp_path)
    torch.manual_seed(0)
    model, mapper = build_model(cfg), build_mapper(cfg, is_train=True)
    optimizer = build_optimizer(cfg, model)
    for _ in range(60):
        loss = sum(model.train()([mapper(entry) for entry in entries[:4]]).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def accuracy(samples: list[dict]) -> float:
        right = [
            (scores(model, sample["image"]).argmax(0) == sample["sem_seg"]).float().mean()
            for sample in samples
        ]
        return float(np.mean(right))

    samples = [mapper(entry) for entry in entries[4:]]
    assert accuracy(samples) > 0.93
    for sample in samples:
        sample["image"][4] = sample["image"][3]
    assert accuracy(samples) < 0.75


def test_costs_are_of_the_channels(repo_dir: Path) -> None:
    cfg = segformer_config.small_config(repo_dir)
    wide = widened(cfg, BANDS)
    few, many = (count_operations(build_model(c), (64, 64))["backbone"] for c in (cfg, wide))
    width = cfg.MODEL.MIT.EMBED_DIMS[0]
    assert many - few == 2 * width * 7 * 7 * 16 * 16  # two channels more of the stem
    assert made_up_batch(wide, (64, 64), 1)[0]["image"].shape == (BANDS, 64, 64)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"MODEL.PIXEL_MEAN": [1.0] * 5}, "PIXEL_MEAN has 5 values, MODEL.PIXEL_STD 3"),
        ({"INPUT.FORMAT": "L"}, "PIXEL_MEAN has 3 values, pictures in INPUT.FORMAT L have 1"),
        ({"INPUT.READER": "gdal"}, "INPUT.READER is 'gdal'; it is one of picture, bands"),
        ({"INPUT.BANDS": [0, 1, 2]}, r"INPUT.BANDS is \[0, 1, 2\]; it goes with INPUT.READER"),
        ({"INPUT.VALUE_RANGE": [0, 9]}, "INPUT.VALUE_RANGE is .* goes with INPUT.READER bands"),
        ({"INPUT.READER": "bands", "INPUT.BANDS": [0, 1]}, "a number from 0 for each of the 3"),
        ({"INPUT.READER": "bands", "INPUT.BANDS": [0, 1, -1]}, "a number from 0 for each"),
        ({"INPUT.READER": "bands", "INPUT.VALUE_RANGE": [9, 0]}, "becomes 0 and a higher one"),
        ({"INPUT.READER": "bands", "INPUT.VALUE_RANGE": [9]}, "becomes 0 and a higher one"),
        ({"INPUT.READER": "bands", "INPUT.COLOR_AUG_SSD": True}, "COLOR_AUG_SSD changes hues"),
        ({"INPUT.READER": "bands", "INPUT.MAPPER": "referring"}, "takes INPUT.READER picture"),
        ({"MODEL.BACKBONE.NEW_CHANNELS": "one"}, "NEW_CHANNELS is 'one'; it is one of mean, zero"),
    ],
)
def test_channels_that_do_not_fit_are_refused(changes: dict, message: str) -> None:
    from d2seg.config.input_checks import check_channels

    cfg = load_config(None)
    check_channels(cfg)
    cfg.merge_from_list([item for pair in changes.items() for item in pair])
    with pytest.raises(ValueError, match=message) as caught:
        check_channels(cfg)
    assert "\n" not in str(caught.value)
