"""Check of whether a checkpoint filled a model, and the message if it did not."""

import logging
import re
from collections.abc import Collection
from dataclasses import dataclass

from torch import nn

logger = logging.getLogger(__name__)

# Smallest share of the backbone's tensors for which checkpoint and model count as one
# architecture. The nearest of kin, ResNet-101 and ResNet-152, share 0.67; ImageNet weights fill
# 0.94 of a ResNet-50 with FPN.
MIN_BACKBONE_SHARE = 0.75
# buffers that the model computes by itself, or that no output depends on
_OPTIONAL = re.compile(
    r"(.*\.)?(relative_position_index|num_batches_tracked|attn_mask|pixel_mean|pixel_std"
    r"|cell_anchors\.[0-9]+)"
)
# tensors with a row per class, the number of rows beyond the classes, the classes' config key
_CLASS_HEADS = [
    (r"(.*\.)?class_embed\.(weight|bias)", 1, "MODEL.SEM_SEG_HEAD.NUM_CLASSES"),
    (
        r"((sem_seg|decode)_head|auxiliary_heads\.[0-9]+)\.predictor\.(weight|bias)",
        0,
        "MODEL.SEM_SEG_HEAD.NUM_CLASSES",
    ),
    (r"sem_seg_head\..*\.query_embed\.weight", 0, "MODEL.SEM_SEG_HEAD.NUM_CLASSES"),
    (r"roi_heads\..*\.cls_score\.(weight|bias)", 1, "MODEL.ROI_HEADS.NUM_CLASSES"),
]


def classes_of_head(name: str, num_rows: int) -> tuple[int, str] | None:
    """Number of classes by a tensor that has a row per class, and its config key; None for the
    names of other tensors."""
    for pattern, extra_rows, key in _CLASS_HEADS:
        if re.fullmatch(pattern, name):
            return num_rows - extra_rows, key
    return None


def is_optional(name: str) -> bool:
    """Whether a checkpoint need not have the tensor of this name."""
    return _OPTIONAL.fullmatch(name) is not None


Mismatch = tuple[str, tuple[int, ...], tuple[int, ...]]  # name, shape in the file, in the model


@dataclass(frozen=True)
class ClassMismatch:
    """Class heads that the checkpoint has for another number of classes."""

    names: list[str]
    in_checkpoint: int
    in_model: int
    key: str

    def __str__(self) -> str:
        return f"{self.in_checkpoint} classes, the config has {self.in_model} ({self.key})"


@dataclass(frozen=True)
class LoadResult:
    """What became of the tensors of a model and of a checkpoint, optional buffers left out."""

    model_names: list[str]
    missing: list[str]  # in the model alone
    unexpected: list[str]  # in the checkpoint alone
    mismatched: list[Mismatch]

    @classmethod
    def of(
        cls,
        model: nn.Module,
        missing: Collection[str],
        unexpected: Collection[str],
        mismatched: list[Mismatch],
    ) -> "LoadResult":
        """Sort out what fvcore reports, where mismatched tensors count as missing, too."""
        names = [name for name in model.state_dict() if not _OPTIONAL.fullmatch(name)]
        absent = set(missing)
        # detectron2's FrozenBatchNorm2d keeps silent about its statistics
        norms = {name.removesuffix(".weight") for name in missing if name.endswith(".weight")}
        absent |= {
            name
            for name in names
            if name.endswith((".running_mean", ".running_var")) and name.rpartition(".")[0] in norms
        }
        absent -= {name for name, _, _ in mismatched}
        return cls(
            model_names=names,
            missing=[name for name in names if name in absent],
            unexpected=[name for name in unexpected if not _OPTIONAL.fullmatch(name)],
            mismatched=mismatched,
        )

    @property
    def unfilled(self) -> set[str]:
        return {*self.missing, *(name for name, _, _ in self.mismatched)}

    @property
    def surplus(self) -> list[str]:
        """Tensors of blocks or layers beyond those of the model: of a deeper network."""
        modules = {
            name[:dot] for name in self.model_names for dot in range(len(name)) if name[dot] == "."
        }

        def is_deeper(name: str) -> bool:
            parts = name.split(".")
            for i, part in enumerate(parts[:-1]):
                if ".".join(parts[: i + 1]) not in modules:
                    return part.isdigit() and ".".join([*parts[:i], "0"]) in modules
            return False

        return [name for name in self.unexpected if is_deeper(name)]

    @property
    def class_mismatch(self) -> ClassMismatch | None:
        found: list[ClassMismatch] = []
        for name, in_checkpoint, in_model in self.mismatched:
            for pattern, extra_rows, key in _CLASS_HEADS:
                if re.fullmatch(pattern, name) and in_checkpoint[1:] == in_model[1:]:
                    rows = in_checkpoint[0] - extra_rows, in_model[0] - extra_rows
                    found.append(ClassMismatch([name], *rows, key))
        if not found:
            return None
        names = [name for mismatch in found for name in mismatch.names]
        return ClassMismatch(names, found[0].in_checkpoint, found[0].in_model, found[0].key)

    @property
    def untouched_parts(self) -> list[str]:
        """Parts of the model of which the checkpoint has no tensor: heads, after ImageNet."""
        given = {name.partition(".")[0] for name in set(self.model_names) - set(self.missing)}
        parts = {name.partition(".")[0]: None for name in self.model_names}  # in order
        return [part for part in parts if part not in given]

    def __str__(self) -> str:
        total = len(self.model_names)
        text = [f"it fills {total - len(self.unfilled)} of the model's {total} tensors"]
        if self.missing:
            text.append(f"missing in it: {_examples(self.missing)}")
        if self.unexpected:
            text.append(f"not in the model: {_examples(self.unexpected)}")
        if self.mismatched:
            shapes = [f"{name} {theirs} and not {ours}" for name, theirs, ours in self.mismatched]
            text.append(f"of another shape: {_examples(shapes)}")
        if self.class_mismatch:
            text.append(f"it has {self.class_mismatch}")
        return "; ".join(text)


def check(result: LoadResult, source: str, require_complete: bool) -> None:
    """Refuse a checkpoint that does not fit.

    Args:
        result: of loading it.
        source: what the user calls it.
        require_complete: every tensor of the model must come from it, as for an evaluation. Without
            that, an ImageNet backbone or heads of other classes are enough.

    Raises:
        ValueError: it is of another architecture, or incomplete where it must not be.
    """
    prefix = "backbone." if any(n.startswith("backbone.") for n in result.model_names) else ""
    scope = [name for name in result.model_names if name.startswith(prefix)]
    filled = len(scope) - sum(name.startswith(prefix) for name in result.unfilled)
    deeper = sum(name.startswith(prefix) for name in result.surplus)
    if filled < MIN_BACKBONE_SHARE * (len(scope) + deeper):
        raise ValueError(
            f"{source} is of another architecture than the config's: {result}. Check "
            "MODEL.WEIGHTS against the config"
        )
    if require_complete:
        _check_complete(result, source)
    elif result.class_mismatch:
        names = ", ".join(result.class_mismatch.names)
        logger.warning("%s has %s: %s start from scratch", source, result.class_mismatch, names)
    if result.untouched_parts:
        parts = ", ".join(result.untouched_parts)
        logger.info("%s has nothing for %s: they start from scratch", source, parts)


def _check_complete(result: LoadResult, source: str) -> None:
    classes = result.class_mismatch
    if classes and result.unfilled == set(classes.names) and not result.surplus:
        raise ValueError(
            f"{source} has {classes}. Set {classes.key} to {classes.in_checkpoint}, or fine-tune "
            "the checkpoint on the new classes first"
        )
    if result.unfilled:
        raise ValueError(
            f"{source} does not fill the model, which would compute with random weights: {result}. "
            "Check MODEL.WEIGHTS against the config"
        )
    if result.surplus:
        raise ValueError(
            f"{source} is of a deeper model than the config's: {result}. Check MODEL.WEIGHTS "
            "against the config"
        )


def _examples(texts: list[str], count: int = 3) -> str:
    """The first text of ``count`` different modules."""
    by_module: dict[str, str] = {}
    for text in texts:
        by_module.setdefault(".".join(text.split(".")[:3]), text)
    shown = list(by_module.values())[:count]
    rest = f" and {len(texts) - len(shown)} more" if len(texts) > len(shown) else ""
    return ", ".join(shown) + rest
