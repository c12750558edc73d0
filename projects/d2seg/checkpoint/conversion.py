"""Conversion of foreign parameter names to d2seg's and back."""

import re
from collections.abc import Set

from .layouts import LAYOUTS, Layout, find_layout
from .naming import StateDict

# of a backbone's weights: alone in a model, inside an FPN or SETR's aggregation, inside the simple
# feature pyramid, the model itself
_PLACES = ("backbone.", "backbone.bottom_up.", "backbone.net.", "")


def to_d2seg(state: StateDict) -> tuple[StateDict, Layout | None]:
    """Rename the weights of a recognised layout.

    Returns:
        The weights under d2seg's names and their layout; ``state`` itself and ``None`` where the
        names are of no foreign layout.

    Raises:
        ValueError: the layout is recognised, but tensors that belong together are missing.
    """
    bare = state
    if all(name.startswith("module.") for name in state):  # of DistributedDataParallel
        bare = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    layout = find_layout(bare.keys())
    return (state, None) if layout is None else (layout.convert(bare), layout)


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
