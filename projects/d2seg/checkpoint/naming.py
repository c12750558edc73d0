"""Renaming of parameters by tables of name templates that read in both directions.

A template is a name with placeholders: ``{i}``, ``{j}`` and ``{k}`` stand for a number, any other
word for the rest of a name, dots included. ``layers.{i}.{name}`` matches ``layers.3.norm.weight``.

A third of a fused attention projection has a name of its own here: ``attn.qkv.weight[q]``, ``[k]``
and ``[v]`` are the first, second and last third of the rows of ``attn.qkv.weight``. A table can
thus map separate projections onto a fused one.
"""

import re
from collections.abc import Iterable
from functools import cached_property

import torch
from torch import Tensor

StateDict = dict[str, Tensor]

THIRDS = ("[q]", "[k]", "[v]")
_PLACEHOLDER = re.compile(r"\\\{(\w+)\\\}")


def _compile(template: str) -> re.Pattern[str]:
    def group(match: re.Match[str]) -> str:
        return f"(?P<{match[1]}>{'[0-9]+' if match[1] in 'ijk' else r'[^[]+'})"

    return re.compile(_PLACEHOLDER.sub(group, re.escape(template)))


class NameTable:
    """Pairs of templates (theirs, ours). The first pair that matches a name renames it; names that
    no pair matches stay as they are."""

    def __init__(
        self, pairs: Iterable[tuple[str, str]], prefixes: tuple[str, str] = ("", "")
    ) -> None:
        """``prefixes`` are put before every template of theirs and of ours."""
        theirs, ours = prefixes
        self._pairs = [(theirs + left, ours + right) for left, right in pairs]

    # At their first use: all tables have 1600 templates, of which a program needs a few at most,
    # and compiling them takes a quarter of a second.
    @cached_property
    def _to_ours(self) -> list[tuple[re.Pattern[str], str]]:
        return [(_compile(left), right) for left, right in self._pairs]

    @cached_property
    def _to_theirs(self) -> list[tuple[re.Pattern[str], str]]:
        return [(_compile(right), left) for left, right in self._pairs]

    def to_ours(self, state: StateDict) -> StateDict:
        """Rename their tensors to ours, joining thirds."""
        return _join_thirds(_rename(state, self._to_ours))

    def to_theirs(self, state: StateDict) -> StateDict:
        """Rename our tensors to theirs, splitting what they keep in thirds."""
        patterns = [pattern for pattern, _ in self._to_theirs]
        split: StateDict = {}
        for name, tensor in state.items():
            if any(pattern.fullmatch(name + THIRDS[0]) for pattern in patterns):
                thirds = (rows.clone() for rows in tensor.chunk(3))  # safetensors shares nothing
                split |= {name + t: third for t, third in zip(THIRDS, thirds, strict=True)}
            else:
                split[name] = tensor
        return _rename(split, self._to_theirs)


def without(state: StateDict, pattern: str) -> StateDict:
    """``state`` less the tensors whose whole name matches the regular expression."""
    return {name: tensor for name, tensor in state.items() if not re.fullmatch(pattern, name)}


def _rename(state: StateDict, rules: list[tuple[re.Pattern[str], str]]) -> StateDict:
    renamed: StateDict = {}
    for name, tensor in state.items():
        for pattern, template in rules:
            match = pattern.fullmatch(name)
            if match:
                name = template.format(**match.groupdict())
                break
        if name in renamed:
            raise ValueError(f"two tensors of the checkpoint would both become '{name}'")
        renamed[name] = tensor
    return renamed


def _join_thirds(state: StateDict) -> StateDict:
    joined: StateDict = {}
    for name, tensor in state.items():
        if not name.endswith(THIRDS):
            joined[name] = tensor
            continue
        whole = name[: -len(THIRDS[0])]
        missing = [whole + third for third in THIRDS if whole + third not in state]
        if missing:
            raise ValueError(f"the checkpoint has the tensor of {name}, but none for {missing}")
        joined[whole] = torch.cat([state[whole + third] for third in THIRDS])
    return joined
