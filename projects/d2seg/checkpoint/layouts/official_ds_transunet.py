"""The DS-TransUNet authors' checkpoints: both encoders, fusion, decoder and auxiliary heads."""

from collections.abc import Set

from ..naming import NameTable
from .layout import Export, Layout

_STAGES = ("res2", "res3", "res4", "res5")
# the norm of a convolution comes before the convolution itself, whose template is the wider one
_PIXELS = [
    ("down1.{name}", "backbone.full_conv.{name}"),
    ("down2.conv.2.{name}", "backbone.half_convs.1.norm.{name}"),
    ("down2.conv.1.{name}", "backbone.half_convs.1.{name}"),
    ("down2.conv.5.{name}", "backbone.half_convs.2.norm.{name}"),
    ("down2.conv.4.{name}", "backbone.half_convs.2.{name}"),
]
_ENCODERS = [
    ("encoder.{name}", "backbone.fine.{name}"),
    ("encoder2.{name}", "backbone.coarse.{name}"),
]
_INTERACTION = [
    ("norm_l.{name}", "fine_norm.{name}"),
    ("norm_s.{name}", "coarse_norm.{name}"),
    ("linear_l.{name}", "fine_to_coarse.{name}"),
    ("linear_s.{name}", "coarse_to_fine.{name}"),
    *(
        (f"transformer_{scale}.layers.0.{theirs}", f"{layer}.{ours}")
        for scale, layer in (("l", "fine_layer"), ("s", "coarse_layer"))
        for theirs, ours in [
            ("0.norm.{name}", "norm1.{name}"),
            ("0.fn.to_qkv.{name}", "qkv.{name}"),
            ("0.fn.to_out.0.{name}", "proj.{name}"),
            ("1.norm.{name}", "norm2.{name}"),
            ("1.fn.net.0.{name}", "fc1.{name}"),
            ("1.fn.net.3.{name}", "fc2.{name}"),
        ]
    ),
]
_JOIN = [
    ("conv.1.{name}", "join.0.norm.{name}"),
    ("conv.0.{name}", "join.0.{name}"),
    ("conv.4.{name}", "join.1.norm.{name}"),
    ("conv.3.{name}", "join.1.{name}"),
]
_FUSIONS = [
    (f"{part}{number}.{theirs}", f"decode_head.fusions.{stage}.{ours}")
    for number, stage in enumerate(_STAGES, 1)
    for part, pairs in (("cross_att_", _INTERACTION), ("change", _JOIN))
    for theirs, ours in pairs
]
_SWIN_LEVEL = [
    ("up.up.up.2.{name}", "reduce.norm.{name}"),
    ("up.up.up.1.{name}", "reduce.{name}"),
    ("up.layer.{name}", "swin.{name}"),
    ("up.conv_relu.0.{name}", "project.{name}"),
    ("conv2.0.{name}", "skip.{name}"),
    ("conv_relu.0.{name}", "join.{name}"),
]
_PLAIN_LEVEL = [
    ("up.up.2.{name}", "reduce.norm.{name}"),
    ("up.up.1.{name}", "reduce.{name}"),
    ("conv_relu.0.{name}", "join.{name}"),
]
_LEVELS = [
    (f"layer{number}.{theirs}", f"decode_head.levels.{number - 1}.{ours}")
    for number in range(1, 6)
    for theirs, ours in (_SWIN_LEVEL if number <= 3 else _PLAIN_LEVEL)
]
_PREDICTORS = [
    ("final.{name}", "decode_head.predictor.{name}"),
    ("loss1.0.{name}", "auxiliary_heads.0.predictor.{name}"),
    ("loss2.0.{name}", "auxiliary_heads.1.predictor.{name}"),
]
_NAMES = NameTable([*_PIXELS, *_ENCODERS, *_FUSIONS, *_LEVELS, *_PREDICTORS])


def _matches(names: Set[str]) -> bool:
    return {"encoder.patch_embed.proj.weight", "encoder2.patch_embed.proj.weight"} <= names


def _is_ours(names: Set[str]) -> bool:
    return {
        "backbone.fine.patch_embed.proj.weight",
        "decode_head.fusions.res2.fine_norm.weight",
    } <= names


LAYOUT = Layout(
    name="official DS-TransUNet",
    matches=_matches,
    convert=_NAMES.to_ours,
    export=Export("official", holds="DS-TransUNet", matches=_is_ours, convert=_NAMES.to_theirs),
)
