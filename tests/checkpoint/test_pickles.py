"""Pickles are read without running what they name."""

import argparse
import io
import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from yacs.config import CfgNode

from d2seg.checkpoint.pickles import UnsafePickleError, load_pickle, load_torch


class Attack:
    """Unpickled by ``pickle.load``, it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> tuple:
        return os.mkdir, (self.folder,)


def pickled(value: Any, protocol: int | None = None) -> io.BytesIO:
    return io.BytesIO(pickle.dumps(value, protocol=protocol))


def torch_saved(value: Any, **kwargs: Any) -> io.BytesIO:
    file = io.BytesIO()
    torch.save(value, file, **kwargs)
    file.seek(0)
    return file


def test_the_attack_works_on_plain_pickle(tmp_path: Path) -> None:
    pickle.load(pickled(Attack(tmp_path / "made")))
    assert (tmp_path / "made").is_dir()


def test_code_in_a_pickle_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UnsafePickleError, match=r"posix\.mkdir|nt\.mkdir"):
        load_pickle(pickled({"model": Attack(tmp_path / "made")}))
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_torch_file_is_refused_by_name(tmp_path: Path, zipped: bool) -> None:
    file = torch_saved({"model": Attack(tmp_path / "made")}, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UnsafePickleError, match="mkdir"):
        load_torch(file)
    assert not (tmp_path / "made").exists()


def test_code_nested_in_a_pickled_tensor_is_refused(tmp_path: Path) -> None:
    """``torch.storage._load_from_bytes`` is a ``torch.load`` inside the pickle."""

    class Nested:
        def __reduce__(self) -> tuple:
            inner = torch_saved(Attack(tmp_path / "made"), _use_new_zipfile_serialization=False)
            return torch.storage._load_from_bytes, (inner.getvalue(),)

    with pytest.raises(UnsafePickleError, match="mkdir"):
        load_pickle(pickled(Nested()))
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_of_every_pickle_protocol(protocol: int) -> None:
    weights = {
        "half": np.arange(6, dtype=np.float16).reshape(2, 3),
        "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "scalar": np.float32(2.5),
        "bytes": b"\x00\xff",
    }
    loaded = load_pickle(pickled({"model": OrderedDict(weights)}, protocol))["model"]
    assert loaded["half"].dtype == np.float16
    for name in ("half", "columns", "scalar"):
        np.testing.assert_array_equal(loaded[name], weights[name])


def test_text_of_python_2() -> None:
    """Strings of Python 2 pickles hold bytes beyond ASCII, as Caffe2's arrays do."""
    assert load_pickle(io.BytesIO(b"U\x02\xe9ab.".replace(b"\x02", b"\x03"))) == "\xe9ab"


def test_tensors_in_a_plain_pickle() -> None:
    """What the official script writes for a Swin backbone."""
    tensor = torch.randn(3, 4)
    loaded = load_pickle(
        pickled({"weight": tensor, "rows": tensor[1:], "parameter": torch.nn.Parameter(tensor)})
    )
    assert torch.equal(loaded["weight"], tensor)
    assert torch.equal(loaded["rows"], tensor[1:])
    assert torch.equal(loaded["parameter"], tensor)


def test_what_training_scripts_store_beside_the_weights() -> None:
    stored = {
        "args": argparse.Namespace(lr=0.1),
        "config": CfgNode({"MODEL": {"NAME": "swin"}}),
        "cfg": get_cfg(),
        "best": np.float64(0.5),
        "numpy_random": np.random.RandomState(0).get_state(),
        "torch_random": torch.get_rng_state(),
        "iteration": 7,
    }
    loaded = load_torch(torch_saved(stored))
    assert loaded["args"] == stored["args"]
    assert loaded["config"] == {"MODEL": {"NAME": "swin"}}
    assert loaded["cfg"]["MODEL"]["DEVICE"] == "cuda"
    assert loaded["best"] == 0.5
    np.testing.assert_array_equal(loaded["numpy_random"][1], stored["numpy_random"][1])
    assert torch.equal(loaded["torch_random"], stored["torch_random"])


def test_the_state_of_a_training_is_readable() -> None:
    """Optimizer, scheduler and scaler, as detectron2 stores them."""
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.AdamW([parameter])
    parameter.sum().backward()
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5])
    stored = {"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
    loaded = load_torch(torch_saved(stored))
    assert torch.equal(loaded["optimizer"]["state"][0]["exp_avg"], torch.full((2,), 0.1))
    assert loaded["scheduler"]["milestones"] == {3: 1, 5: 1}


def test_damage_is_reported_without_advice_to_load_unsafely() -> None:
    with pytest.raises(pickle.UnpicklingError) as raised:
        load_torch(io.BytesIO(b"<html>" * 20))
    assert "weights_only" not in str(raised.value)
