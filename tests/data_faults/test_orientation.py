"""Label maps of pictures that EXIF data turn by 180 degrees or mirror, and are of their size."""

import numpy as np
import pytest
from dataset_files import semantic_declaration, unique_name
from mapper_samples import make_cfg, panoptic_dict
from PIL import Image

from d2seg.data.datasets.declaration import register_declarations
from d2seg.data.inspection.dataset import inspect_dataset
from d2seg.data.label_maps import read_id_map, write_id_map
from d2seg.data.mappers import build_mapper

TURNS = {2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud}
HOW = {2: "mirrors it", 3: "turns it by 180 degrees", 4: "turns it upside down"}


def scene() -> tuple[np.ndarray, np.ndarray]:
    """(40, 60, 3) a picture of a disc off the middle, with noise, and its labels."""
    ys, xs = np.mgrid[:40, :60]
    labels = ((ys - 12) ** 2 + (xs - 18) ** 2 < 90).astype(np.uint8)
    noise = np.random.default_rng(0).integers(0, 20, (40, 60, 3))
    return (60 + 120 * labels[..., None] + noise).astype(np.uint8), labels


def write(folder, orientation: int, labels: np.ndarray, exif_of_labels: bool = False) -> dict:
    exif = Image.Exif()
    exif[0x0112] = orientation
    (folder / "images").mkdir(exist_ok=True)
    (folder / "labels").mkdir(exist_ok=True)
    picture, label_file = folder / "images/a.jpg", folder / "labels/a.png"
    Image.fromarray(scene()[0]).save(picture, exif=exif, quality=95)
    more = {"exif": exif} if exif_of_labels else {}
    Image.fromarray(np.ascontiguousarray(labels)).save(label_file, **more)
    return {"file_name": str(picture), "sem_seg_file_name": str(label_file)}


def declared(folder) -> str:
    splits = {"train": {"images": "images", "labels": "labels"}}
    keys = {"classes": ["a", "b"], "splits": splits}
    file = semantic_declaration(folder / "exif.json", unique_name("exif"), **keys)
    return register_declarations([file])[0]


@pytest.mark.parametrize("orientation", TURNS)
def test_labels_of_the_stored_picture_are_refused(tmp_path, orientation: int) -> None:
    entry = write(tmp_path, orientation, scene()[1])
    mapper = build_mapper(make_cfg("semantic", 2), is_train=True)
    with pytest.raises(
        ValueError, match=f"a.png: it fits .*a.jpg as it is stored, .*{HOW[orientation]}"
    ):
        mapper(entry)
    [problem] = inspect_dataset(declared(tmp_path)).problems
    assert problem.kind == "label map of the unturned picture"
    assert "turn the label map, or take the orientation out of the picture" in problem.detail


@pytest.mark.parametrize("orientation", range(1, 9))
def test_segment_ids_are_turned_as_their_own_exif_says(tmp_path, orientation: int) -> None:
    ids = np.arange(12, dtype=np.uint32).reshape(3, 4) * 60_000
    write_id_map(str(tmp_path / "a.png"), ids)
    exif = Image.Exif()
    exif[0x0112] = orientation
    with Image.open(tmp_path / "a.png") as image:
        image.save(tmp_path / "turned.png", exif=exif)
        expected = np.asarray(image).astype(np.int64)
    turns = {1: ids, 2: ids[:, ::-1], 3: ids[::-1, ::-1], 4: ids[::-1], 5: ids.T}
    turns |= {6: ids.T[:, ::-1], 7: ids.T[::-1, ::-1], 8: ids.T[::-1]}
    assert (expected @ [1, 256, 65536] == ids).all()
    found = read_id_map(str(tmp_path / "turned.png"))
    assert found.dtype == np.uint32
    assert found.tolist() == turns[orientation].tolist()


@pytest.mark.parametrize("orientation", TURNS)
def test_labels_of_the_shown_picture_are_right(tmp_path, orientation: int) -> None:
    for labels, has_exif in ((TURNS[orientation](scene()[1]), False), (scene()[1], True)):
        entry = write(tmp_path, orientation, labels, has_exif)
        sample = build_mapper(make_cfg("semantic", 2), is_train=True)(entry)
        assert np.array_equal(sample["sem_seg"].numpy(), TURNS[orientation](scene()[1]))
        assert "orientation" not in sample
        assert not inspect_dataset(declared(tmp_path)).problems


@pytest.mark.parametrize("case", ["noise", "one label", "symmetric", "few pixels"])
def test_what_tells_nothing_is_taken_as_it_is(tmp_path, case: str) -> None:
    labels = np.zeros((40, 60), np.uint8)
    if case == "noise":
        labels = np.random.default_rng(1).integers(0, 2, (40, 60), dtype=np.uint8)
    elif case == "symmetric":
        labels[10:30, 15:45] = 1
    elif case == "few pixels":
        labels[8:12, 12:16] = 1
    entry = write(tmp_path, 3, labels)
    build_mapper(make_cfg("semantic", 2), is_train=True)(entry)


def test_panoptic_maps_are_looked_at_too(tmp_path) -> None:
    labels = scene()[1]
    segments = [{"id": 5, "category_id": 0}, {"id": 6, "category_id": 1}]
    entry = panoptic_dict(tmp_path, labels.astype(np.int64) + 5, segments)
    entry["file_name"] = write(tmp_path, 3, labels)["file_name"]
    with pytest.raises(ValueError, match=r"panoptic\.png: it fits"):
        build_mapper(make_cfg("panoptic", 2), is_train=True)(entry)


@pytest.mark.parametrize("mapper", ["instance", "semantic", "bands"])
@pytest.mark.parametrize(
    ("orientation", "stated", "remedy"),
    [
        (6, (40, 60), "annotations are of the picture as its EXIF orientation turns it"),
        (1, (60, 40), "correct the entry, or put the picture there that was annotated"),
        (6, (41, 60), "correct the entry, or put the picture there that was annotated"),
    ],
)
def test_an_entry_of_another_size(
    tmp_path, mapper: str, orientation: int, stated: tuple[int, int], remedy: str
) -> None:
    labels = np.rot90(scene()[1], -1) if orientation == 6 else scene()[1]
    entry = write(tmp_path, orientation, labels)
    entry |= {"height": stated[0], "width": stated[1], "annotations": []}
    cfg = make_cfg("detectron2" if mapper == "bands" else mapper, 2)
    if mapper == "bands":  # of which it is not known
        cfg.INPUT.READER = "bands"
        remedy = "correct the entry, or put the picture there that was annotated"
    shown = "60x40" if orientation == 6 else "40x60"
    message = rf"{entry['file_name']}: the image is {shown} \(height x width\), its entry says "
    with pytest.raises(ValueError, match=f"{message}{stated[0]}x{stated[1]}; {remedy}$"):
        build_mapper(cfg, is_train=True)(entry)
    for key in ("height", "width"):
        entry[key] = None  # as where it is not said
    if mapper != "bands":
        sample = build_mapper(cfg, is_train=True)(entry)
        assert f"{sample['height']}x{sample['width']}" == shown
