"""Conversion of foreign parameter names to d2seg's and back."""

import copy
import re
from collections.abc import Set
from typing import Any

from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from .layouts import LAYOUTS, Layout, find_layout
from .naming import StateDict

# of a backbone's weights: alone in a model, inside an FPN or SETR's aggregation, inside the simple
# feature pyramid, the model itself
_WRAPPERS = ("module.", "_orig_mod.", "model.")  # of processes, torch.compile, Lightning
# what models of d2seg and of detectron2 consist of; the last line is that of a ResNet alone
_OWN_PARTS = {
    *("backbone", "pixel_decoder", "transformer_decoder", "decode_head", "auxiliary_heads"),
    *("predictor", "vision_norm", "text_encoder", "fusion", "decoder"),
    *("sem_seg_head", "proposal_generator", "roi_heads", "head"),
    *("stem", "res2", "res3", "res4", "res5", "linear"),
}
_OWN_BUFFERS = {"pixel_mean", "pixel_std", "criterion"}
_PLACES = ("backbone.", "backbone.bottom_up.", "backbone.net.", "")


def to_d2seg(state: StateDict) -> tuple[StateDict, Layout | None]:
    """Rename the weights of a recognised layout.

    Returns:
        The weights under d2seg's names and their layout; where the names are of no foreign layout,
        ``state`` less any prefix of wrappers, and ``None``.

    Raises:
        ValueError: the layout is recognised, but tensors that belong together are missing.
    """
    bare, _ = without_prefix(state)
    layout = find_layout(bare.keys())
    return (bare, None) if layout is None else (layout.convert(bare), layout)


def options_of(state: StateDict) -> tuple[Any, ...]:
    """Keys and values that a config must have for a model of these weights, by their layout."""
    layout = find_layout(without_prefix(state)[0].keys())
    return () if layout is None else layout.options


def without_prefix(state: StateDict, model_names: Set[str] = frozenset()) -> tuple[StateDict, str]:
    """Strip what wrappers put before all names: ``module.``, ``_orig_mod.``, ``model.``, nested.

    Args:
        state: left as it is.
        model_names: of the model that the weights are for; where they have one of its names already
            they are left alone.

    Returns:
        The weights, and the prefix that was stripped, or "".
    """
    prefix = ""
    while state and not state.keys() & model_names:
        found = next((p for p in _WRAPPERS if all(name.startswith(p) for name in state)), None)
        if found is None:
            break
        state = copy.copy(state)
        if hasattr(state, "_metadata"):  # the versions of modules, renamed along
            state._metadata = copy.copy(state._metadata)
        consume_prefix_in_state_dict_if_present(state, found)
        prefix += found
    return state, prefix


def is_own(names: Set[str]) -> bool:
    """Whether names of no foreign layout are those of d2seg or detectron2."""
    parts = {name.partition(".")[0] for name in names}
    return bool(parts & _OWN_PARTS) and parts <= _OWN_PARTS | _OWN_BUFFERS


def to_whole_model(state: StateDict) -> StateDict | None:
    """As :func:`to_d2seg`, for models of other repositories alone: None for the names of this one,
    of detectron2, and of backbones by themselves."""
    converted, layout = to_d2seg(state)
    return None if layout is None or layout.backbone_only else converted


def to_flavour(state: StateDict, flavour: str) -> StateDict:
    """Rename weights under d2seg's names to those of a publisher, for example "official".

    Raises:
        ValueError: no layout of that flavour can hold the model.
    """
    exports = [layout.export for layout in LAYOUTS if layout.export is not None]
    exports = [export for export in exports if export.flavour == flavour]
    for export in exports:
        if export.matches(state.keys()):
            return export.convert(state)
    holds = "; ".join(export.holds for export in exports) or "nothing"
    raise ValueError(
        f"no '{flavour}' layout holds this model (first names: {sorted(state)[:3]}); it holds: "
        f"{holds}"
    )


def flavours() -> list[str]:
    """What :func:`to_flavour` can be asked for."""
    return sorted({layout.export.flavour for layout in LAYOUTS if layout.export is not None})


def place_backbone(converted: StateDict, original: StateDict, model_names: Set[str]) -> StateDict:
    """Give an ImageNet model's weights the names under which ``model_names`` has them.

    Args:
        converted: the weights under the names that a layout gives them, ``backbone.*``.
        original: the same under the names in the file.
        model_names: of the model that they are for.
    """

    def renamed(state: StateDict, pattern: str, replacement: str) -> StateDict:
        return {re.sub(pattern, replacement, name): tensor for name, tensor in state.items()}

    ours = [converted, renamed(original, "^", "backbone.")]  # the second, of a backbone by itself
    in_timm = [renamed(state, r"^backbone\.", "backbone.model.") for state in ours]
    # where timm flattens the first level: stages.0.blocks -> stages_0.blocks
    flat = renamed(in_timm[1], r"^(backbone\.model\.[a-z]+)\.([0-9]+)\.", r"\1_\2.")
    candidates = [converted] + [
        renamed(state, r"^backbone\.", place)
        for place in _PLACES
        for state in (*ours, *in_timm, flat)
    ]
    return max(candidates, key=lambda state: len(state.keys() & model_names))
