"""Configs of the official MaskFormer and Mask2Former repositories, rewritten for this project.

Both name their meta-architecture MaskFormer and keep their keys under MODEL.MASK_FORMER. What a
file and its bases say is carried over key by key; what they leave to the defaults of their code
follows this project's.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog

from .files import leaves, read_tree
from .loading import load_config, merge_tree

_SHARED = "MODEL.MASK_CLASSIFICATION"
_OFFICIAL = "MODEL.MASK_FORMER"
# official key -> ours; {method}: MASKFORMER or MASK2FORMER
_RENAMED = {
    f"{_OFFICIAL}.HIDDEN_DIM": "MODEL.{method}.HIDDEN_DIM",
    f"{_OFFICIAL}.NHEADS": "MODEL.{method}.NUM_HEADS",
    f"{_OFFICIAL}.DIM_FEEDFORWARD": "MODEL.{method}.DIM_FEEDFORWARD",
    f"{_OFFICIAL}.DROPOUT": "MODEL.{method}.DROPOUT",
    f"{_OFFICIAL}.PRE_NORM": "MODEL.{method}.PRE_NORM",
    f"{_OFFICIAL}.NUM_OBJECT_QUERIES": f"{_SHARED}.NUM_QUERIES",
    **{
        f"{_OFFICIAL}.{name}": f"{_SHARED}.{name}"
        for name in (
            *("CLASS_WEIGHT", "MASK_WEIGHT", "DICE_WEIGHT", "NO_OBJECT_WEIGHT"),
            *("DEEP_SUPERVISION", "SIZE_DIVISIBILITY"),
            *("TEST.OBJECT_MASK_THRESHOLD", "TEST.OVERLAP_THRESHOLD"),
        )
    },
    f"{_OFFICIAL}.TRAIN_NUM_POINTS": "MODEL.MASK2FORMER.NUM_LOSS_POINTS",
    f"{_OFFICIAL}.OVERSAMPLE_RATIO": "MODEL.MASK2FORMER.OVERSAMPLE_RATIO",
    f"{_OFFICIAL}.IMPORTANCE_SAMPLE_RATIO": "MODEL.MASK2FORMER.IMPORTANCE_SAMPLE_RATIO",
    "MODEL.SEM_SEG_HEAD.MASK_DIM": f"{_SHARED}.MASK_DIM",
    "MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES": (
        "MODEL.MASK2FORMER.ENCODER_IN_FEATURES"
    ),
    "MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_N_POINTS": (
        "MODEL.MASK2FORMER.NUM_SAMPLING_POINTS"
    ),
    "INPUT.IMAGE_SIZE": "INPUT.LSJ.IMAGE_SIZE",
    "INPUT.MIN_SCALE": "INPUT.LSJ.MIN_SCALE",
    "INPUT.MAX_SCALE": "INPUT.LSJ.MAX_SCALE",
}
# keys with one value that this project can do, which needs no key here
_IMPLIED = {
    f"{_OFFICIAL}.ENC_LAYERS": (0,),
    f"{_OFFICIAL}.ENFORCE_INPUT_PROJ": (False,),
    f"{_OFFICIAL}.TRANSFORMER_IN_FEATURE": ("res5", "multi_scale_pixel_decoder"),
    f"{_OFFICIAL}.TRANSFORMER_DECODER_NAME": ("MultiScaleMaskedTransformerDecoder",),
    "MODEL.SEM_SEG_HEAD.NAME": ("MaskFormerHead",),
    "MODEL.SEM_SEG_HEAD.COMMON_STRIDE": (4,),
    "MODEL.SEM_SEG_HEAD.LOSS_WEIGHT": (1.0,),
    "MODEL.SWIN.PATCH_SIZE": (4,),
    "MODEL.SWIN.MLP_RATIO": (4.0,),
    "MODEL.SWIN.QKV_BIAS": (True,),
    "MODEL.SWIN.QK_SCALE": (None,),
    "MODEL.SWIN.DROP_RATE": (0.0,),
    "MODEL.SWIN.ATTN_DROP_RATE": (0.0,),
    "MODEL.SWIN.APE": (False,),
    "MODEL.SWIN.PATCH_NORM": (True,),
}
_TASKS = {
    f"{_OFFICIAL}.TEST.PANOPTIC_ON": "panoptic",
    f"{_OFFICIAL}.TEST.SEMANTIC_ON": "semantic",
    f"{_OFFICIAL}.TEST.INSTANCE_ON": "instance",
}
# official mapper -> ours, and how it augments
_MAPPERS = {
    "mask_former_semantic": ("semantic", "resize_crop"),
    "mask_former_panoptic": ("panoptic", "resize_crop"),
    "mask_former_instance": ("instance", "resize_crop"),
    "coco_panoptic_lsj": ("panoptic", "lsj"),
    "coco_instance_lsj": ("instance", "lsj"),
    "detr_panoptic": ("panoptic", "detr"),
}
_PIXEL_DECODERS = ("MSDeformAttnPixelDecoder", "BasePixelDecoder", "TransformerEncoderPixelDecoder")
_OF_MASK2FORMER = ("TRANSFORMER_DECODER_NAME", "TRAIN_NUM_POINTS", "OVERSAMPLE_RATIO")


@dataclass
class Conversion:
    """``carried``: {our key: value}; ``left``: what could not be carried, a line for each."""

    method: str  # MASKFORMER or MASK2FORMER
    official: dict[str, Any]
    carried: dict[str, Any] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)

    @property
    def is_second(self) -> bool:
        return self.method == "MASK2FORMER"

    def tree(self) -> dict[str, Any]:
        """``carried`` as nested dicts, as a YAML file has them."""
        tree: dict[str, Any] = {}
        for key, value in self.carried.items():
            *groups, leaf = key.split(".")
            node = tree
            for group in groups:
                node = node.setdefault(group, {})
            node[leaf] = list(value) if isinstance(value, tuple) else value
        return tree


def convert_official(file: str | Path) -> Conversion:
    """Rewrite an official config.

    Args:
        file: YAML; its ``_BASE_`` files lie where it says. Tags are not evaluated.

    Returns:
        The config under this project's keys, and what could not be carried. Loaded, it gives a
        config that ``load_config`` accepts.

    Raises:
        ValueError: the file or a base is missing or no YAML; it is of neither repository.
    """
    path = Path(os.path.expanduser(file))
    official = dict(leaves(read_tree(path)))
    head = official.get("MODEL.SEM_SEG_HEAD.NAME", "")
    if not any(key.startswith(f"{_OFFICIAL}.") for key in official) and "PerPixel" not in str(head):
        raise ValueError(
            f"{path}: no key of {_OFFICIAL}, so it is no config of the official MaskFormer or "
            "Mask2Former"
        )
    is_second = any(f"{_OFFICIAL}.{name}" in official for name in _OF_MASK2FORMER) or (
        official.get("MODEL.SEM_SEG_HEAD.PIXEL_DECODER_NAME") == _PIXEL_DECODERS[0]
    )
    conversion = Conversion("MASK2FORMER" if is_second else "MASKFORMER", official)
    for key, value in official.items():
        _carry(conversion, key, value)
    _carry_pixel_decoder(conversion)
    _carry_tasks(conversion)
    _keep_valid(conversion)
    return conversion


def _carry(conversion: Conversion, key: str, value: Any) -> None:
    carried, special = conversion.carried, _SPECIAL.get(key)
    if special is not None:
        special(conversion, value)
    elif key in _RENAMED:
        carried[_RENAMED[key].format(method=conversion.method)] = value
    elif key in _IMPLIED and value in _IMPLIED[key]:
        return
    elif key in _IMPLIED and not str(value).startswith("PerPixel"):
        conversion.left.append(f"{key} {value!r}: only {_IMPLIED[key][0]!r} is supported")
    elif key in _TASKS or key in _OF_PIXEL_DECODER:
        return  # together with others, below
    else:
        carried[key] = value


def _carry_name(conversion: Conversion, value: str) -> None:
    if value == "MaskFormer":
        value = "Mask2Former" if conversion.is_second else "MaskFormer"
        # neither official code has a key for it
        conversion.carried[f"{_SHARED}.MASK_LOSS"] = "bce" if conversion.is_second else "focal"
    conversion.carried["MODEL.META_ARCHITECTURE"] = value


def _carry_layers(conversion: Conversion, value: int) -> None:
    """The official Mask2Former counts the predictions, of which the first precedes all layers."""
    number = value - 1 if conversion.is_second else value
    conversion.carried[f"MODEL.{conversion.method}.NUM_DECODER_LAYERS"] = number


def _carry_backbone(conversion: Conversion, value: str) -> None:
    ours = "build_swin_backbone" if value == "D2SwinTransformer" else value
    conversion.carried["MODEL.BACKBONE.NAME"] = ours


def _carry_mapper(conversion: Conversion, value: str) -> None:
    if value not in _MAPPERS:
        conversion.left.append(f"INPUT.DATASET_MAPPER_NAME {value!r}: set INPUT.MAPPER yourself")
        return
    mapper, augmentation = _MAPPERS[value]
    conversion.carried |= {"INPUT.MAPPER": mapper, "INPUT.AUGMENTATION": augmentation}


def _carry_padding(conversion: Conversion, value: int) -> None:
    conversion.carried["INPUT.PAD_SIZE"] = [value, value] if value > 0 else []


def _carry_heads_of_encoder(conversion: Conversion, value: int) -> None:
    if value != conversion.official.get(f"{_OFFICIAL}.NHEADS", value):
        conversion.left.append(
            f"MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_N_HEADS {value}: both transformers "
            "have MODEL.MASK2FORMER.NUM_HEADS"
        )


_SPECIAL: dict[str, Callable[[Conversion, Any], None]] = {
    "MODEL.META_ARCHITECTURE": _carry_name,
    f"{_OFFICIAL}.DEC_LAYERS": _carry_layers,
    "MODEL.BACKBONE.NAME": _carry_backbone,
    "INPUT.DATASET_MAPPER_NAME": _carry_mapper,
    "INPUT.SIZE_DIVISIBILITY": _carry_padding,
    "MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_N_HEADS": _carry_heads_of_encoder,
}
_OF_PIXEL_DECODER = (
    "MODEL.SEM_SEG_HEAD.PIXEL_DECODER_NAME",
    "MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS",
)


def _carry_pixel_decoder(conversion: Conversion) -> None:
    name, num_layers = (conversion.official.get(key) for key in _OF_PIXEL_DECODER)
    if name is not None and name not in _PIXEL_DECODERS:
        conversion.left.append(f"{_OF_PIXEL_DECODER[0]} {name!r}: one of {_PIXEL_DECODERS}")
        return
    if name == "BasePixelDecoder":
        num_layers = None if conversion.is_second else 0
    if name is not None and conversion.is_second:
        kind = "deformable" if name == _PIXEL_DECODERS[0] else "fpn"
        conversion.carried["MODEL.MASK2FORMER.PIXEL_DECODER"] = kind
    if num_layers is not None:
        conversion.carried[f"MODEL.{conversion.method}.NUM_PIXEL_ENCODER_LAYERS"] = num_layers


def _carry_tasks(conversion: Conversion) -> None:
    """The first MaskFormer has a switch for panoptic alone, and is semantic without it."""
    said = {
        task: conversion.official[key] for key, task in _TASKS.items() if key in conversion.official
    }
    tasks = [task for task, is_on in said.items() if is_on]
    if said and not conversion.is_second and not tasks:
        tasks = ["semantic"]
    if tasks:
        conversion.carried["TEST.TASKS"] = tasks


def _keep_valid(conversion: Conversion) -> None:
    """Leave out, and say so, what this project has no key for or another kind of value."""
    cfg = load_config(None)
    for key, value in list(conversion.carried.items()):
        try:
            merge_tree(cfg, {key: value}, "")
        except ValueError as error:
            del conversion.carried[key]
            conversion.left.append(f"{key} {value!r}: {error}")
    for key in ("TRAIN", "TEST"):
        unknown = [name for name in cfg.DATASETS[key] if name not in DatasetCatalog]
        if unknown:
            names = ", ".join(unknown)
            conversion.left.append(
                f"DATASETS.{key}: no data set is registered as {names}; see docs/datasets.md"
            )
