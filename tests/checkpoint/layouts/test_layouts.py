"""The registry of layouts."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from d2seg.checkpoint.layouts import LAYOUTS, find_layout

# beginnings of the names in golden/keys, and whose layout it is
PUBLISHED = {
    "ds": "official DS-TransUNet",
    "maskformer": "official MaskFormer",
    "mask2former": "official Mask2Former",
    "restr": "official ReSTR",
    "segformer": "official SegFormer",
    "setr": "official SETR",
    "topformer": "official TopFormer",
    "transunet": "official TransUNet",
}
CONFIGS = [
    "ade20k_semantic_resnet50",
    "ade20k_semantic_resnet101c",
    "coco_panoptic_resnet50",
    "coco_panoptic_swin_tiny",
    "ade20k_semantic_per_pixel_resnet50",
    "ade20k_semantic_per_pixel_plus_resnet50",
]


def test_every_layout_has_a_name_of_its_own() -> None:
    assert len({layout.name for layout in LAYOUTS}) == len(LAYOUTS) >= 4


def test_no_layout_takes_our_names(small_model: Callable) -> None:
    for config in CONFIGS:
        assert find_layout(small_model(config).state_dict().keys()) is None


@pytest.mark.parametrize(
    "names",
    [
        # what Mask2Former and MaskFormer share, in both publishers' layouts
        {
            "sem_seg_head.pixel_decoder.adapter_1.weight",
            "sem_seg_head.predictor.class_embed.weight",
        },
        {
            "model.transformer_module.queries_embedder.weight",
            "model.pixel_level_module.decoder.mask_projection.weight",
        },
        {"stem.conv1.weight", "res2.0.conv1.weight"},  # detectron2's own
        # Swin V2, and a ResNet with average pooling in its shortcuts
        {
            "patch_embed.proj.weight",
            "layers.0.blocks.0.attn.relative_position_bias_table",
            "layers.0.blocks.0.attn.logit_scale",
        },
        {"conv1.weight", "layer1.0.conv1.weight", "layer2.0.downsample.2.weight"},
        set(),
    ],
)
def test_others_are_left_alone(names: set[str]) -> None:
    assert find_layout(names) is None


def test_one_layout_matches_published_names(repo_dir: Path) -> None:
    files = sorted((repo_dir / "tests" / "golden" / "keys").glob("*.json"))
    assert {file.stem.partition("_")[0] for file in files} == set(PUBLISHED)
    for file in files:
        names = json.loads(file.read_text()).keys()
        matching = [layout.name for layout in LAYOUTS if layout.matches(names)]
        assert matching == [PUBLISHED[file.stem.partition("_")[0]]], file.name
