"""What mapped examples hold of expressions.

E expressions, (H, W) a picture.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def sentences_of(example: dict) -> list[str]:
    entries = example.get("expressions", ())
    return [entry if isinstance(entry, str) else entry["sentence"] for entry in entries]


def padded_masks(batched_inputs: list[dict], size: Sequence[int]) -> Tensor:
    """(E, *size) bool of all examples; their padding belongs to no object."""
    padded = []
    for example in batched_inputs:
        if "expression_masks" not in example:
            raise ValueError(
                f"{name_of(example)}: the training sample has no 'expression_masks', which ReSTR "
                'needs; set INPUT.MAPPER to "referring"'
            )
        masks = example["expression_masks"]
        whole = masks.new_zeros((len(masks), *size))
        whole[:, : masks.shape[1], : masks.shape[2]] = masks
        padded.append(whole)
    return torch.cat(padded)


def name_of(example: dict) -> str:
    return example.get("file_name", "(no file name)")
