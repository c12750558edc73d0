"""The ReSTR authors' checkpoints.

Their visual encoder carries its ImageNet classifier, on which no output depends: it is dropped, and
not written. They do not say the words of the embedding's rows; ours do, which is dropped on export.
"""

from collections.abc import Set

from ..naming import NameTable, StateDict, without
from .layout import Export, Layout

_NAMES = NameTable(
    [
        ("encoder_v.norm.{name}", "vision_norm.{name}"),
        ("encoder_v.{name}", "backbone.model.{name}"),
        ("encoder_l.embedding.weight", "text_encoder.words.weight"),
        ("encoder_l.blocks.{name}", "text_encoder.blocks.{name}"),
        ("encoder_l.proj_lang.{name}", "text_encoder.proj.{name}"),
        ("encoder_l.lang_norm.{name}", "text_encoder.norm.{name}"),
        ("fusion_module.seed_emb", "fusion.seed"),
        ("fusion_module.proj_patch", "fusion.proj_patch.weight"),
        ("fusion_module.proj_cls", "fusion.proj_classifier.weight"),
        ("fusion_module.proj_v.{name}", "fusion.proj_vision.{name}"),
        ("fusion_module.proj_l.{name}", "fusion.proj_text.{name}"),
        ("fusion_module.blocks_vl.{name}", "fusion.vision_language.{name}"),
        ("fusion_module.blocks_ls.{name}", "fusion.language_seed.{name}"),
        ("fusion_module.norm.{name}", "fusion.norm.{name}"),
        ("fusion_module.decoder.{i}.up.1.weight", "decoder.layers.{i}.weight"),
        ("fusion_module.decoder.4.weight", "decoder.predictor.weight"),
    ]
)
# plain matrices that their features are multiplied with from the right
_MATRICES = ("fusion.proj_patch.weight", "fusion.proj_classifier.weight")


def _matches(names: Set[str]) -> bool:
    return {"encoder_l.embedding.weight", "fusion_module.seed_emb"} <= names


def _convert(state: StateDict) -> StateDict:
    return _transposed(_NAMES.to_ours(without(state, r"encoder_v\.head\..*")))


def _is_ours(names: Set[str]) -> bool:
    return {"text_encoder.words.weight", "fusion.seed", "backbone.model.cls_token"} <= names


def _export(state: StateDict) -> StateDict:
    kept = without(state, r"text_encoder\.words\.vocabulary")
    return _NAMES.to_theirs(_transposed(kept))


def _transposed(state: StateDict) -> StateDict:
    return {n: t.T.contiguous() if n in _MATRICES else t for n, t in state.items()}


LAYOUT = Layout(
    name="official ReSTR",
    matches=_matches,
    convert=_convert,
    export=Export(
        "official",
        holds="ReSTR on a plain ViT, four doublings in its decoder",
        matches=_is_ours,
        convert=_export,
    ),
)
