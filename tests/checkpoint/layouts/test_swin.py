"""ImageNet Swin Transformers of their authors and of timm, in detectron2's module."""

from collections.abc import Callable

import torch
from timm.models.swin_transformer import SwinTransformer
from torch.nn import functional as F

from d2seg.backbones.swin import SwinBackbone
from d2seg.checkpoint.layouts import find_layout
from d2seg.checkpoint.layouts.swin import LAYOUT

SIZES = {"embed_dim": 24, "depths": (2, 2, 1, 1), "num_heads": (1, 2, 4, 8)}
OUTPUT_NORMS = {f"norm{i}.{kind}" for i in range(4) for kind in ("weight", "bias")}


def small_swin() -> SwinBackbone:
    torch.manual_seed(0)
    return SwinBackbone(drop_path_rate=0.0, **SIZES).eval()


def test_names_of_the_authors(same_state: Callable) -> None:
    backbone = {n: t for n, t in small_swin().state_dict().items() if n not in OUTPUT_NORMS}
    published = backbone | {
        "norm.weight": torch.ones(192),
        "norm.bias": torch.zeros(192),
        "head.weight": torch.zeros(1000, 192),
        "head.bias": torch.zeros(1000),
        "layers.0.blocks.1.attn_mask": torch.zeros(64, 49, 49),
    }
    assert find_layout(published.keys()) is LAYOUT
    same_state(LAYOUT.convert(published), {f"backbone.{n}": t for n, t in backbone.items()})


def test_equal_features_with_timm() -> None:
    theirs = SwinTransformer(img_size=224, **SIZES).eval()
    state = theirs.state_dict()
    assert find_layout(state.keys()) is LAYOUT
    ours = small_swin()
    missing, unexpected = ours.load_state_dict(
        {name.removeprefix("backbone."): t for name, t in LAYOUT.convert(state).items()},
        strict=False,
    )
    assert not unexpected
    assert {n for n in missing if not n.endswith("relative_position_index")} == OUTPUT_NORMS
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        expected = theirs.forward_intermediates(images, intermediates_only=True)
        actual = ours(images)
    for name, feature in zip(("res2", "res3", "res4", "res5"), expected, strict=True):
        # detectron2's norms of the outputs, at their initial scale 1 and shift 0
        normed = F.layer_norm(feature.movedim(1, -1), feature.shape[1:2]).movedim(-1, 1)
        torch.testing.assert_close(actual[name], normed, rtol=1e-4, atol=1e-4)
