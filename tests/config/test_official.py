"""Configs of the official repositories, as their users write them."""

from pathlib import Path

import pytest
import yaml

from d2seg.config.loading import load_config
from d2seg.config.official import convert_official

BASE = """
MODEL:
  BACKBONE: {FREEZE_AT: 0, NAME: build_resnet_backbone}
  WEIGHTS: detectron2://ImageNetPretrained/torchvision/R-50.pkl
  PIXEL_MEAN: [123.675, 116.280, 103.530]
  PIXEL_STD: [58.395, 57.120, 57.375]
  RESNETS:
    DEPTH: 50
    STEM_TYPE: basic
    STRIDE_IN_1X1: False
    OUT_FEATURES: [res2, res3, res4, res5]
"""
SECOND = """
_BASE_: Base.yaml
DATASETS:
  TRAIN: ("coco_2017_train_panoptic",)
  TEST: ("coco_2017_val_panoptic",)
MODEL:
  META_ARCHITECTURE: MaskFormer
  SEM_SEG_HEAD:
    NAME: MaskFormerHead
    IGNORE_VALUE: 255
    NUM_CLASSES: 133
    LOSS_WEIGHT: 1.0
    CONVS_DIM: 256
    MASK_DIM: 256
    NORM: GN
    PIXEL_DECODER_NAME: MSDeformAttnPixelDecoder
    IN_FEATURES: [res2, res3, res4, res5]
    DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES: [res3, res4, res5]
    COMMON_STRIDE: 4
    TRANSFORMER_ENC_LAYERS: 6
  MASK_FORMER:
    TRANSFORMER_DECODER_NAME: MultiScaleMaskedTransformerDecoder
    TRANSFORMER_IN_FEATURE: multi_scale_pixel_decoder
    DEEP_SUPERVISION: True
    NO_OBJECT_WEIGHT: 0.1
    CLASS_WEIGHT: 2.0
    MASK_WEIGHT: 5.0
    DICE_WEIGHT: 5.0
    HIDDEN_DIM: 256
    NUM_OBJECT_QUERIES: 100
    NHEADS: 8
    DROPOUT: 0.0
    DIM_FEEDFORWARD: 2048
    ENC_LAYERS: 0
    PRE_NORM: False
    ENFORCE_INPUT_PROJ: False
    SIZE_DIVISIBILITY: 32
    DEC_LAYERS: 10
    TRAIN_NUM_POINTS: 12544
    OVERSAMPLE_RATIO: 3.0
    IMPORTANCE_SAMPLE_RATIO: 0.75
    TEST:
      SEMANTIC_ON: False
      INSTANCE_ON: True
      PANOPTIC_ON: True
      OVERLAP_THRESHOLD: 0.8
      OBJECT_MASK_THRESHOLD: 0.8
SOLVER: {BASE_LR: 0.0001, OPTIMIZER: ADAMW, BACKBONE_MULTIPLIER: 0.1, WEIGHT_DECAY: 0.05}
INPUT:
  IMAGE_SIZE: 1024
  MIN_SCALE: 0.1
  MAX_SCALE: 2.0
  FORMAT: RGB
  DATASET_MAPPER_NAME: coco_panoptic_lsj
"""
FIRST = """
_BASE_: Base.yaml
DATASETS:
  TRAIN: ("ade20k_sem_seg_train",)
  TEST: ("ade20k_sem_seg_val",)
MODEL:
  META_ARCHITECTURE: MaskFormer
  SEM_SEG_HEAD:
    NAME: MaskFormerHead
    NUM_CLASSES: 150
    PIXEL_DECODER_NAME: BasePixelDecoder
    IN_FEATURES: [res2, res3, res4, res5]
    CONVS_DIM: 256
    MASK_DIM: 256
    NORM: GN
  MASK_FORMER:
    TRANSFORMER_IN_FEATURE: res5
    MASK_WEIGHT: 20.0
    DICE_WEIGHT: 1.0
    NUM_OBJECT_QUERIES: 100
    NHEADS: 8
    DROPOUT: 0.1
    ENC_LAYERS: 0
    DEC_LAYERS: 6
    TEST: {PANOPTIC_ON: False, OVERLAP_THRESHOLD: 0.8, OBJECT_MASK_THRESHOLD: 0.8}
INPUT: {DATASET_MAPPER_NAME: mask_former_semantic, COLOR_AUG_SSD: True, SIZE_DIVISIBILITY: 512}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "Base.yaml").write_text(BASE)
    return tmp_path


def converted(folder: Path, text: str) -> tuple[Path, list[str]]:
    """The native file, and what is left out."""
    (folder / "official.yaml").write_text(text)
    conversion = convert_official(folder / "official.yaml")
    (folder / "ours.yaml").write_text(yaml.safe_dump(conversion.tree()))
    return folder / "ours.yaml", conversion.left


@pytest.mark.parametrize(
    ("text", "config"),
    [
        (SECOND, "mask2former/coco_panoptic_resnet50"),
        (FIRST, "maskformer/ade20k_semantic_resnet50"),
    ],
    ids=["Mask2Former", "MaskFormer"],
)
def test_a_published_config_becomes_ours(
    folder: Path, repo_dir: Path, text: str, config: str
) -> None:
    file, left = converted(folder, text)
    assert left == []
    found, expected = load_config(str(file)), load_config(str(repo_dir / f"configs/{config}.yaml"))
    expected.MODEL.RESNETS.STEM_TYPE = "basic"  # which this backbone does not read
    assert found.MODEL == expected.MODEL
    assert found.DATASETS == expected.DATASETS
    assert sorted(found.TEST.TASKS) == sorted(expected.TEST.TASKS)
    for key in ("MAPPER", "AUGMENTATION", "LSJ", "COLOR_AUG_SSD", "FORMAT"):
        if key != "FORMAT" or "FORMAT" in text:
            assert found.INPUT[key] == expected.INPUT[key], key


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("ENC_LAYERS: 3", "MODEL.MASK_FORMER.ENC_LAYERS 3: only 0 is supported"),
        ("NO_SUCH_KEY: 1", "unknown config key 'MODEL.MASK_FORMER.NO_SUCH_KEY'"),
        ("NHEADS: many", "MODEL.MASKFORMER.NUM_HEADS is 'many'"),
    ],
)
def test_what_cannot_be_carried_is_said(folder: Path, line: str, said: str) -> None:
    text = "MODEL:\n  META_ARCHITECTURE: MaskFormer\n  MASK_FORMER:\n    HIDDEN_DIM: 64\n"
    file, left = converted(folder, f"{text}    {line}\n")
    assert len(left) == 1
    assert said in left[0]
    assert load_config(str(file)).MODEL.MASKFORMER.HIDDEN_DIM == 64


def test_other_names_of_the_second_repository(folder: Path) -> None:
    text = SECOND.replace("coco_panoptic_lsj", "own_mapper").replace(
        'TRAIN: ("coco_2017_train_panoptic",)', 'TRAIN: ("own_train",)'
    )
    encoder = "DEFORMABLE_TRANSFORMER_ENCODER_"
    text = text.replace(f"    {encoder}", f"    {encoder}N_HEADS: 4\n    {encoder}")
    _, left = converted(folder, text)
    assert len(left) == 3
    assert any("ENCODER_N_HEADS 4: both transformers" in each for each in left)
    assert any("DATASET_MAPPER_NAME 'own_mapper'" in each for each in left)
    assert any("no data set is registered as own_train" in each for each in left)


def test_swin_and_the_baseline(folder: Path) -> None:
    text = """
MODEL:
  META_ARCHITECTURE: SemanticSegmentor
  BACKBONE: {NAME: D2SwinTransformer}
  SWIN: {EMBED_DIM: 192, MLP_RATIO: 4.0, APE: False, PATCH_NORM: True}
  SEM_SEG_HEAD: {NAME: PerPixelBaselineHead, PIXEL_DECODER_NAME: BasePixelDecoder}
"""
    file, left = converted(folder, text)
    cfg = load_config(str(file))
    assert left == []
    assert (cfg.MODEL.BACKBONE.NAME, cfg.MODEL.SWIN.EMBED_DIM) == ("build_swin_backbone", 192)
    assert cfg.MODEL.SEM_SEG_HEAD.NAME == "PerPixelBaselineHead"


def test_files_that_are_none_are_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"no key of MODEL\.MASK_FORMER, so it is no config"):
        convert_official(folder / "Base.yaml")
    with pytest.raises(ValueError, match="there is no config file"):
        convert_official(folder / "absent.yaml")
    (folder / "tag.yaml").write_text("MODEL: !!python/object/apply:os.system ['true']\n")
    with pytest.raises(ValueError, match=r"tag\.yaml, line 1: a !!python tag"):
        convert_official(folder / "tag.yaml")
