"""Name tables, on names worked out by hand."""

import pytest
import torch

from d2seg.checkpoint.naming import NameTable, without

TABLE = NameTable(
    [
        ("block{i}.norm1.{name}", "layers.{i}.attention.norm.{name}"),
        ("block{i}.q.{name}", "layers.{i}.attention.in_proj_{name}[q]"),
        ("block{i}.k.{name}", "layers.{i}.attention.in_proj_{name}[k]"),
        ("block{i}.v.{name}", "layers.{i}.attention.in_proj_{name}[v]"),
        ("head.weight", "classifier.weight"),
    ],
    prefixes=("net.", "model."),
)


def numbered(*names: str) -> dict[str, torch.Tensor]:
    return {name: torch.full((2, 3), float(i)) for i, name in enumerate(names)}


def test_both_directions() -> None:
    theirs = numbered("net.block0.norm1.weight", "net.block12.norm1.bias", "net.head.weight")
    ours = TABLE.to_ours(theirs)
    assert list(ours) == [
        "model.layers.0.attention.norm.weight",
        "model.layers.12.attention.norm.bias",
        "model.classifier.weight",
    ]
    assert [int(tensor[0, 0]) for tensor in ours.values()] == [0, 1, 2]
    back = TABLE.to_theirs(ours)
    assert list(back) == list(theirs)


@pytest.mark.parametrize(
    "name",
    [
        "net.head.weights",  # longer than a template
        "head.weight",  # without the prefix
        "net.blockx.norm1.weight",  # no number
        "a.net.head.weight",
        "netXhead.weight",  # the dot is a dot
    ],
)
def test_names_that_no_template_matches_stay(name: str) -> None:
    assert list(TABLE.to_ours(numbered(name))) == [name]


def test_thirds_are_joined_in_order_and_split_again() -> None:
    theirs = numbered("net.block1.v.weight", "net.block1.q.weight", "net.block1.k.weight")
    ours = TABLE.to_ours(theirs)
    assert list(ours) == ["model.layers.1.attention.in_proj_weight"]
    # rows of q (1), k (2), v (0), whatever the order in the file
    assert ours["model.layers.1.attention.in_proj_weight"][:, 0].tolist() == [1, 1, 2, 2, 0, 0]
    back = TABLE.to_theirs(ours)
    assert back.keys() == theirs.keys()
    assert all(torch.equal(back[name], theirs[name]) for name in theirs)


def test_split_thirds_do_not_share_memory() -> None:
    fused = {"model.layers.0.attention.in_proj_bias": torch.arange(6.0)}
    thirds = TABLE.to_theirs(fused)
    pointers = {tensor.untyped_storage().data_ptr() for tensor in thirds.values()}
    assert len(pointers) == 3


def test_a_missing_third_is_named() -> None:
    theirs = numbered("net.block1.q.weight", "net.block1.k.weight")
    with pytest.raises(ValueError, match=r"none for \['model\.layers\.1\..*in_proj_weight\[v\]'\]"):
        TABLE.to_ours(theirs)


def test_two_tensors_for_one_name_are_refused() -> None:
    theirs = numbered("net.head.weight", "model.classifier.weight")
    with pytest.raises(ValueError, match=r"both become 'model\.classifier\.weight'"):
        TABLE.to_ours(theirs)


def test_the_argument_is_not_changed() -> None:
    theirs = numbered("net.head.weight", "other")
    TABLE.to_ours(theirs)
    assert list(theirs) == ["net.head.weight", "other"]


def test_without_takes_whole_names() -> None:
    state = numbered("fc.weight", "a.fc.weight", "fc")
    assert list(without(state, r"fc\..*")) == ["a.fc.weight", "fc"]
