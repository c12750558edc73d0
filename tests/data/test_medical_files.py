"""Reading of image and label from npz and HDF5, and files that are wrong."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from medical_files import damage, volume, write_h5, write_npz

from d2seg.data.medical.files import ArrayFileError, read_slice, read_volume, volume_shape


def test_slices_and_volumes(tmp_path: Path) -> None:
    arrays = volume()
    for path in (
        write_h5(tmp_path / "a.npy.h5", **arrays),
        write_npz(tmp_path / "a.npz", **arrays),
    ):
        assert volume_shape(str(path)) == (3, 20, 24)
        image, label = read_volume(str(path))
        assert (image.dtype, label.dtype) == (np.float32, np.int64)
        assert np.array_equal(image, arrays["image"])
        assert np.array_equal(label, arrays["label"])
        one_image, one_label = read_slice(str(path), 2)
        assert np.array_equal(one_image, image[2])
        assert np.array_equal(one_label, label[2])


def test_labels_stored_as_floats(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "a.npz", image=np.ones((4, 4)), label=np.ones((4, 4), "f4"))
    assert read_slice(str(path))[1].dtype == np.int64


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"image": np.ones((4, 4))}, r"lacks label; it has \['image'\]"),
        ({"image": np.ones((4, 4)), "label": np.ones((4, 5))}, r"\(4, 4\), 'label' \(4, 5\)"),
        (
            {"image": np.ones((2, 4, 4)), "label": np.ones((2, 4, 4))},
            "but a slice .* is needed",
        ),
        ({"image": np.ones((0, 4)), "label": np.ones((0, 4))}, "but a slice .* is needed"),
        ({"image": np.full((4, 4), np.nan), "label": np.ones((4, 4))}, "not finite"),
        ({"image": np.ones((4, 4)), "label": np.full((4, 4), 0.5)}, "no whole numbers"),
        ({"image": np.full((4, 4), b"x"), "label": np.ones((4, 4))}, "no array of numbers"),
    ],
)
@pytest.mark.parametrize("suffix", ["h5", "npz"])
def test_wrong_contents(tmp_path: Path, entries: dict, message: str, suffix: str) -> None:
    write = {"h5": write_h5, "npz": write_npz}[suffix]
    path = write(tmp_path / f"wrong.{suffix}", **entries)
    with pytest.raises(ArrayFileError, match=rf"wrong\.{suffix}.*{message}"):
        read_slice(str(path))


def test_slices_that_differ_in_size(tmp_path: Path) -> None:
    """As a group of slices, as rows of varying length, and as pickled objects of an npz."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        for entry in ("image", "label"):
            file[f"{entry}/0"], file[f"{entry}/1"] = np.ones((4, 4)), np.ones((5, 4))
    with pytest.raises(ArrayFileError, match=r"a\.h5.* differ in size, 0 has \(4, 4\), 1 \(5"):
        read_volume(str(path))
    with h5py.File(tmp_path / "b.h5", "w") as file:
        for entry in ("image", "label"):
            file.create_dataset(entry, (2,), dtype=h5py.vlen_dtype(np.float32))
    with pytest.raises(ArrayFileError, match="slices that differ in size cannot make a volume"):
        read_volume(str(tmp_path / "b.h5"))
    ragged = np.array([np.ones((4, 4)), np.ones((5, 4))], dtype=object)
    np.savez(tmp_path / "c.npz", image=ragged, label=ragged)
    with pytest.raises(ArrayFileError, match=r"c\.npz cannot be read: image\.npy is no array"):
        read_volume(str(tmp_path / "c.npz"))


@pytest.mark.parametrize("name", ["a.h5", "a.npz"])
def test_damaged_files(tmp_path: Path, name: str) -> None:
    write = write_h5 if name.endswith("h5") else write_npz
    path = write(tmp_path / name, **volume(depth=8, height=64, width=64))
    whole = path.read_bytes()
    damage(path)
    with pytest.raises(ArrayFileError, match=name):
        read_volume(str(path))
    for content in (whole[: len(whole) // 2], b"", b"<html>"):
        path.write_bytes(content)
        with pytest.raises(ArrayFileError, match=f"{name} cannot be read"):
            read_volume(str(path))


def test_a_missing_file(tmp_path: Path) -> None:
    for name in ("a.h5", "a.npz"):
        with pytest.raises(ArrayFileError, match=f"{name} cannot be read"):
            read_slice(str(tmp_path / name))


def test_a_bare_array(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((4, 4)))
    (tmp_path / "a.npy").rename(tmp_path / "a.npz")
    with pytest.raises(ArrayFileError, match="one bare array"):
        read_slice(str(tmp_path / "a.npz"))


@pytest.mark.parametrize("suffix", ["h5", "npz"])
def test_what_unpacks_to_all_memory(tmp_path: Path, suffix: str) -> None:
    """Zeros of a deflated file, and values that an HDF5 file has no byte of."""
    path = tmp_path / f"bomb.{suffix}"
    if suffix == "npz":
        np.savez_compressed(path, image=np.zeros((1500, 1500, 20), "f4"), label=np.zeros(1, "u1"))
    else:
        with h5py.File(path, "w") as file:
            for entry in ("image", "label"):
                file.create_dataset(entry, (10**4,) * 3, "f4")
    for read in (read_volume, volume_shape):
        with pytest.raises(
            ArrayFileError, match=r"bomb\.\w+ cannot be read: it unpacks to \d+ MiB"
        ):
            read(str(path))


def test_compressed_volumes_are_read(tmp_path: Path) -> None:
    """Labels of one class compress a thousandfold."""
    arrays = {"image": volume(40, 256, 256)["image"], "label": np.ones((40, 256, 256), "u1")}
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    write_h5(tmp_path / "a.h5", **arrays)
    for name in ("a.npz", "a.h5"):
        assert np.array_equal(read_volume(str(tmp_path / name))[1], arrays["label"])


def test_a_file_with_pickled_entries_beside_the_arrays(tmp_path: Path) -> None:
    """They are not looked at."""
    np.savez(tmp_path / "a.npz", image=np.ones((4, 4)), label=np.ones((4, 4)), meta={"a": 1})
    assert read_slice(str(tmp_path / "a.npz"))[1].shape == (4, 4)
