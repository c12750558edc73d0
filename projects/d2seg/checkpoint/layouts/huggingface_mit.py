"""ImageNet checkpoints of Mix Transformer in Hugging Face transformers
(``SegformerForImageClassification``, for example nvidia/mit-b0). The classifier is left out."""

from collections.abc import Set

from ..naming import StateDict, without
from .huggingface_segformer import convert
from .layout import Layout

_FIRST = {
    "segformer.encoder.patch_embeddings.0.proj.weight",
    "segformer.stages.0.patch_embeddings.proj.weight",
}


def _matches(names: Set[str]) -> bool:
    return not names.isdisjoint(_FIRST) and "decode_head.classifier.weight" not in names


def _convert(state: StateDict) -> StateDict:
    return convert(without(state, r"classifier\..*"))


LAYOUT = Layout(
    name="Hugging Face Mix Transformer", matches=_matches, convert=_convert, backbone_only=True
)
