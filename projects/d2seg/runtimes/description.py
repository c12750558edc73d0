"""What an exported file says of itself: JSON texts under names that begin with "d2seg.".

All formats hold the same texts: ONNX as ``metadata_props``, OpenVINO as ``rt_info``, torch.export
as an extra file.
"""

import json
from collections.abc import Mapping
from typing import Any

FORMAT = 1  # of the description
PREFIX = "d2seg."
REQUIRED = {
    "format": int,  # FORMAT
    "version": str,  # of d2seg
    "method": str,  # the meta-architecture
    "task": str,  # that the config offers first
    "tasks": list,
    "dtype": str,  # "fp32", "fp16", "bf16", "int8"
    "size": list,  # [height, width] of the input; empty: any, in multiples of the divisibility
    "divisibility": int,
    "num_classes": int,
    "pixel_mean": list,  # of each channel, on the 0..255 scale
    "pixel_std": list,
    "channel_order": str,  # "RGB" or "BGR"
    "inputs": list,  # names, in order
    "outputs": list,
    "postprocess": str,  # "" for logits and masks, or the task whose results the graph gives
    "class_names": list,
    "class_colors": list,  # [r, g, b] each, where the data set has them
    "config": str,  # the whole config, as YAML
    "classes": dict,  # metadata of the data set, see ``data.class_metadata``
    "words": list,  # the vocabulary of a model of referring segmentation
}


def to_texts(description: Mapping[str, Any]) -> dict[str, str]:
    """A JSON text for each entry, under its name with the prefix."""
    return {PREFIX + key: json.dumps(value) for key, value in description.items()}


def from_texts(texts: Mapping[str, str], source: str) -> dict[str, Any]:
    """The reverse of :func:`to_texts`.

    Raises:
        ValueError: d2seg did not write them, or another version of it that is not understood.
    """
    if PREFIX + "format" not in texts:
        raise ValueError(
            f"{source} holds no description of d2seg: write the file with 'd2seg export'"
        )
    try:
        found = {key: json.loads(texts[PREFIX + key]) for key in REQUIRED}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{source}: its description is damaged ({error}); export anew") from error
    if found["format"] != FORMAT:
        raise ValueError(
            f"{source} was exported by d2seg {found['version']}, whose descriptions (format "
            f"{found['format']}) this version (format {FORMAT}) does not read; export anew"
        )
    wrong = [key for key, kind in REQUIRED.items() if not isinstance(found[key], kind)]
    if wrong or len(found["size"]) not in (0, 2):
        raise ValueError(
            f"{source}: its description is damaged ({', '.join(wrong) or 'size'}); export anew"
        )
    return found
