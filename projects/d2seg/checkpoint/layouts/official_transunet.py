"""The TransUNet authors' checkpoints: the hybrid and the pure transformer, with the upsampler."""

from collections.abc import Set

from ..naming import NameTable
from .layout import Export, Layout

_CNN = [
    (f"transformer.embeddings.hybrid_model.{theirs}.{{name}}", f"backbone.cnn.{ours}.{{name}}")
    for theirs, ours in [
        ("root", "root"),
        ("body.block{i}.unit{j}.downsample", "block{i}.unit{j}.conv_proj"),
        ("body.block{i}.unit{j}", "block{i}.unit{j}"),
    ]
]
_TRANSFORMER = [
    ("transformer.embeddings.position_embeddings", "backbone.pos_embed"),
    ("transformer.embeddings.patch_embeddings.{name}", "backbone.patch_embed.proj.{name}"),
    ("transformer.encoder.encoder_norm.{name}", "backbone.norm.{name}"),
    *(
        (f"transformer.encoder.layer.{{i}}.{theirs}", f"backbone.blocks.{{i}}.{ours}")
        for theirs, ours in [
            ("attention_norm.{name}", "norm1.{name}"),
            ("attn.query.{name}", "attn.qkv.{name}[q]"),
            ("attn.key.{name}", "attn.qkv.{name}[k]"),
            ("attn.value.{name}", "attn.qkv.{name}[v]"),
            ("attn.out.{name}", "attn.proj.{name}"),
            ("ffn_norm.{name}", "norm2.{name}"),
            ("ffn.{name}", "mlp.{name}"),
        ]
    ),
]
_DECODER = [
    ("decoder.{name}", "decode_head.{name}"),
    ("segmentation_head.0.{name}", "decode_head.predictor.{name}"),
]
_NAMES = NameTable([*_CNN, *_TRANSFORMER, *_DECODER])
# the first template that matches wins, and the other way round the decoder's is the wider one
_TO_THEIRS = NameTable([*_CNN, *_TRANSFORMER, *reversed(_DECODER)])


def _matches(names: Set[str]) -> bool:
    return {
        "transformer.embeddings.position_embeddings",
        "decoder.conv_more.0.weight",
        "segmentation_head.0.weight",
    } <= names


def _is_ours(names: Set[str]) -> bool:
    return {"backbone.pos_embed", "decode_head.conv_more.0.weight"} <= names


LAYOUT = Layout(
    name="official TransUNet",
    matches=_matches,
    convert=_NAMES.to_ours,
    export=Export(
        "official",
        holds="TransUNet, hybrid or pure",
        matches=_is_ours,
        convert=_TO_THEIRS.to_theirs,
    ),
)
