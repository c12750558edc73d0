"""Writes small medical data sets, for the tests of data, evaluation and tools."""

from pathlib import Path

import h5py
import numpy as np

ORGANS = ["background", "left half", "right half"]
COLORS = [[0, 0, 0], [255, 0, 0], [0, 0, 255]]


def volume(depth: int = 3, height: int = 20, width: int = 24, seed: int = 0) -> dict:
    """Noise with a brighter block of label 1 and a darker one of label 2 in each slice."""
    image = np.random.default_rng(seed).uniform(0.4, 0.6, (depth, height, width))
    label = np.zeros(image.shape, np.uint8)
    label[:, 5:12, 3:10], label[:, 6:16, 12:20] = 1, 2
    image += np.choose(label, [0.0, 0.4, -0.4])
    return {"image": image.astype(np.float32), "label": label}


def write_h5(path: Path, **entries: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, array in entries.items():
            file.create_dataset(name, data=array, compression="gzip" if array.ndim else None)
    return path


def write_npz(path: Path, **entries: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **entries)
    return path


def damage(path: Path) -> None:
    """Overwrite the middle of a file, as a bad disk does."""
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 400] = bytes(400)
    path.write_bytes(content)


def write_volumes(root: Path, count: int = 2, **sizes: int) -> Path:
    """``volumes/case<i>.h5`` and the list of them."""
    names = [f"case{i}" for i in range(count)]
    for i, name in enumerate(names):
        write_h5(root / "volumes" / f"{name}.h5", **volume(seed=i, **sizes))
    return write_list(root / "volumes.txt", names)


def write_slices(root: Path, count: int = 4) -> Path:
    """``slices/case0_slice<i>.npz`` and the list of them."""
    names = [f"case0_slice{i}" for i in range(count)]
    for i, name in enumerate(names):
        entries = {key: array[0] for key, array in volume(depth=1, seed=i).items()}
        write_npz(root / "slices" / f"{name}.npz", **entries)
    return write_list(root / "slices.txt", names)


def write_list(path: Path, names: list[str]) -> Path:
    path.write_text("\n".join(names) + "\n")
    return path
