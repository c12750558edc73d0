"""Medical slices and volumes: registration, the mapper, loaders, inspection, and real data."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from dataset_files import unique_name
from detectron2.data import MetadataCatalog
from mapper_samples import make_cfg
from medical_files import (
    COLORS,
    ORGANS,
    volume,
    write_h5,
    write_list,
    write_npz,
    write_slices,
    write_volumes,
)
from scipy import ndimage

from d2seg.config.loading import load_config
from d2seg.data import medical
from d2seg.data.build import build_test_loader, build_train_loader
from d2seg.data.catalog import check_classes, check_files, kind_of
from d2seg.data.inspection.dataset import inspect_dataset
from d2seg.data.mappers import build_mapper
from d2seg.data.medical.mapper import SliceMapper, augment
from d2seg.data.medical.registration import load_slices, load_volumes, register_medical


def make_mapper(is_train: bool, size: tuple[int, int] = (32, 16), **changes: int) -> SliceMapper:
    return SliceMapper(
        is_train, **({"size": size, "num_classes": 3, "ignore_value": 255} | changes)
    )


class TestRegistration:
    def test_the_built_in_ones(self) -> None:
        metadata = MetadataCatalog.get("synapse_volumes_test")
        assert metadata.evaluator_type == "volumes"
        assert metadata.stuff_classes == [
            "background", "spleen", "right kidney", "left kidney", "gallbladder", "liver",
            "stomach", "aorta", "pancreas",
        ]  # fmt: skip
        assert metadata.voxel_spacing == (1.0, 1.0, 1.0)
        assert kind_of(metadata) == kind_of(MetadataCatalog.get("acdc_slices_train")) == "semantic"
        assert len(MetadataCatalog.get("acdc_volumes_test").stuff_classes) == 4
        with pytest.raises(ValueError, match=r"there is no .*lists_Synapse/train\.txt"):
            check_files(["synapse_slices_train"])

    def test_the_published_layout(self, tmp_path: Path) -> None:
        folder = tmp_path / "Synapse" / "train_npz"
        write_npz(folder / "case0005_slice000.npz", **{k: v[0] for k, v in volume().items()})
        lists = tmp_path / "lists" / "lists_Synapse"
        lists.mkdir(parents=True)
        write_list(lists / "train.txt", ["case0005_slice000"])
        table = Path(medical.__file__).with_name("datasets.json")
        files = json.loads(table.read_text())[0]["slices"]["train"]
        folders = [tmp_path / folder for folder in files["folders"]]
        (entry,) = load_slices(tmp_path / files["list"], folders, files["suffix"])
        assert entry == {
            "file_name": str(folder / "case0005_slice000.npz"),
            "image_id": "case0005_slice000",
        }

    def test_every_slice_of_a_volume_has_a_dict(self, tmp_path: Path) -> None:
        dicts = load_volumes(write_volumes(tmp_path), [tmp_path / "volumes"], ".h5")
        assert [d["slice_index"] for d in dicts] == [0, 1, 2, 0, 1, 2]
        assert {d["num_slices"] for d in dicts} == {3}
        assert len({d["image_id"] for d in dicts}) == 6
        assert (dicts[0]["height"], dicts[0]["width"]) == (20, 24)

    def test_the_first_folder_that_has_a_file_counts(self, tmp_path: Path) -> None:
        listed = write_slices(tmp_path)
        folders = [tmp_path / "none", tmp_path / "slices"]
        assert len(load_slices(listed, folders, ".npz")) == 4

    def test_names_with_blanks_and_lines_of_any_system(self, tmp_path: Path) -> None:
        write_h5(tmp_path / "patient 1.h5", **volume())
        listed = tmp_path / "list.txt"
        listed.write_bytes(b"patient 1\r\n\r\n")
        (entry,) = load_slices(listed, [tmp_path], ".h5")
        assert entry == {"file_name": str(tmp_path / "patient 1.h5"), "image_id": "patient 1"}

    def test_an_unreadable_volume_has_one_dict_and_a_log_line(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        listed = write_volumes(tmp_path)
        (tmp_path / "volumes" / "case0.h5").write_text("nothing")
        dicts = load_volumes(listed, [tmp_path / "volumes"], ".h5")
        assert [(d["slice_index"], d["num_slices"]) for d in dicts] == [
            (0, 1),
            *[(i, 3) for i in range(3)],
        ]
        assert "case0.h5 cannot be read" in caplog.text

    def test_mistakes(self, tmp_path: Path) -> None:
        listed = write_slices(tmp_path)
        with pytest.raises(ValueError, match="list of files cannot be read"):
            load_slices(tmp_path / "none.txt", [tmp_path], ".npz")
        with pytest.raises(ValueError, match=r"names 4 files, of which 4 are missing.*slice0\.h5"):
            load_slices(listed, [tmp_path / "slices"], ".h5")
        with pytest.raises(ValueError, match=r"being case0_slice0\.npz, in .*none and in .*never"):
            load_slices(listed, [tmp_path / "none", tmp_path / "never"], ".npz")
        with pytest.raises(ValueError, match=r"being case0_slice0\.npz, in no folder at all"):
            load_slices(listed, [], ".npz")
        with pytest.raises(ValueError, match="names no file"):
            load_slices(write_list(tmp_path / "empty.txt", []), [tmp_path], ".npz")
        arguments = {"list_file": listed, "folders": [], "suffix": "", "classes": [], "colors": []}
        with pytest.raises(ValueError, match="kind is 'pictures'"):
            register_medical("x", "pictures", **arguments)
        with pytest.raises(ValueError, match="already registered"):
            register_medical("acdc_slices_train", "slices", **arguments)


class TestMapper:
    def test_a_test_sample(self, tmp_path: Path) -> None:
        arrays = volume()
        path = write_h5(tmp_path / "a.h5", **arrays)
        entry = {"file_name": str(path), "slice_index": 1, "num_slices": 3, "height": 20}
        sample = make_mapper(False)(entry)
        assert sample["image"].shape == (3, 32, 16)
        assert sample["image"].dtype == torch.float32
        expected = ndimage.zoom(arrays["image"][1], (32 / 20, 16 / 24), order=3)
        for channel in sample["image"]:
            assert np.array_equal(channel.numpy(), expected)
        assert (sample["height"], sample["width"]) == (32, 16)
        assert "sem_seg" not in sample
        assert entry["height"] == 20  # the dict of the catalog is left alone

    def test_a_slice_of_the_right_size_is_not_touched(self, tmp_path: Path) -> None:
        arrays = volume()
        path = write_h5(tmp_path / "a.h5", **arrays)
        entry = {"file_name": str(path), "slice_index": 0}
        sample = make_mapper(False, (20, 24))(entry)
        assert np.array_equal(sample["image"][0].numpy(), arrays["image"][0])

    def test_image_and_label_stay_together(self, tmp_path: Path) -> None:
        """Bright pixels are organ 1 and dark ones organ 2, however they are turned."""
        arrays = {key: array[0] for key, array in volume(height=60, width=60).items()}
        path = write_npz(tmp_path / "a.npz", **arrays)
        seen = set()
        for seed in range(40):
            np.random.seed(seed)
            sample = make_mapper(True, (60, 60))({"file_name": str(path)})
            image, label = sample["image"][0].numpy(), sample["sem_seg"].numpy()
            assert label.dtype == np.int64
            assert (image[label == 1] > 0.7).all()
            assert (image[label == 2] < 0.3).all()
            seen.add(label.tobytes())
        assert len(seen) > 8

    def test_odds_of_the_augmentations(self) -> None:
        """A corner tells the eight turns and flips apart; a turn by an angle blanks corners."""
        image = np.ones((40, 40), np.float32)
        image[0, 0], image[0, -1] = 5, 7
        np.random.seed(0)
        kinds = {"same": 0, "flipped": 0, "turned": 0}
        for _ in range(800):
            turned, label = augment(image, image.astype(np.int64))
            assert np.array_equal(turned, label)
            if np.array_equal(turned, image):
                kinds["same"] += 1
            elif sorted(turned.ravel()) == sorted(image.ravel()):
                kinds["flipped"] += 1
            else:
                kinds["turned"] += 1
        # a quarter unchanged, and of the half that is turned or flipped none; angle 0 is rare
        assert kinds["turned"] == pytest.approx(200, abs=40)
        assert kinds["same"] == pytest.approx(200, abs=50)
        assert kinds["flipped"] == pytest.approx(400, abs=60)

    def test_wrong_labels_and_files_are_named_in_training(self, tmp_path: Path) -> None:
        arrays = {key: array[0] for key, array in volume().items()}
        path = write_npz(tmp_path / "a.npz", **arrays)
        with pytest.raises(
            ValueError, match=r"a\.npz: labels outside of 0\.\.1 .*: 2 \(80 times\)"
        ):
            make_mapper(True, num_classes=2)({"file_name": str(path)})
        path.write_bytes(b"")
        with pytest.raises(ValueError, match=r"a\.npz cannot be read"):
            make_mapper(True)({"file_name": str(path)})

    def test_an_unreadable_file_at_test_time_is_passed_on(self, tmp_path: Path) -> None:
        path = tmp_path / "a.h5"
        path.write_bytes(b"")
        sample = make_mapper(False)({"file_name": str(path), "slice_index": 0})
        assert "a.h5 cannot be read" in sample["error"]
        assert sample["image"].shape == (3, 32, 16)

    def test_wrong_settings(self) -> None:
        with pytest.raises(ValueError, match=r"SLICE_SIZE is \(224,\)"):
            build_mapper(make_cfg("slice", 3, SLICE_SIZE=(224,)), True)
        cfg = make_cfg("slice", 3)
        cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE = 2
        with pytest.raises(ValueError, match="IGNORE_VALUE 2 is one of the classes"):
            build_mapper(cfg, True)


def test_loaders_of_a_config(repo_dir: Path, tmp_path: Path) -> None:
    train, test = unique_name(), unique_name()
    organs = {"classes": ORGANS, "colors": COLORS}
    lists = {"list_file": write_slices(tmp_path), "folders": [tmp_path / "slices"]}
    register_medical(train, "slices", suffix=".npz", **lists, **organs)
    lists = {"list_file": write_volumes(tmp_path), "folders": [tmp_path / "volumes"]}
    register_medical(test, "volumes", suffix=".h5", **lists, **organs)
    cfg = load_config(str(repo_dir / "configs" / "transunet" / "acdc_semantic_small.yaml"))
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (train,), (test,)
    cfg.SOLVER.IMS_PER_BATCH = 2
    with pytest.raises(ValueError, match="NUM_CLASSES is 4, but data set"):
        check_classes(cfg)
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 3
    check_classes(cfg)
    check_files([train, test])
    batch = next(iter(build_train_loader(cfg)))
    assert [sample["image"].shape for sample in batch] == [(3, 128, 128)] * 2
    assert all(sample["sem_seg"].max() == 2 for sample in batch)
    samples = [sample for (sample,) in build_test_loader(cfg, test)]
    assert [sample["slice_index"] for sample in samples] == [0, 1, 2] * 2


def test_inspection_names_what_is_wrong(tmp_path: Path) -> None:
    listed = write_volumes(tmp_path, count=3)
    arrays = volume()
    arrays["label"][1, 0, :4] = 9
    arrays["image"][2, 0, 0] = 400
    write_h5(tmp_path / "volumes" / "case1.h5", **arrays)
    (tmp_path / "volumes" / "case2.h5").write_text("nothing")
    name = unique_name()
    register_medical(
        name,
        "volumes",
        list_file=listed,
        folders=[tmp_path / "volumes"],
        suffix=".h5",
        classes=ORGANS,
        colors=COLORS,
    )
    report = inspect_dataset(name)
    found = {(p.kind, Path(p.file).name): p.detail for p in report.problems}
    assert found.keys() == {
        ("label out of range", "case1.h5"),
        ("image values outside of 0..1", "case1.h5"),
        ("unreadable image", "case2.h5"),
    }
    assert found["label out of range", "case1.h5"] == "slice 1: value 9 in 4 pixels"
    assert report.counts["semantic"].pixels[2] == 6 * 80


class TestRealData:
    @pytest.fixture
    def folder(self, shared_dir: Path) -> Path:
        return shared_dir / "data" / "ACDC"

    def test_slices(self, folder: Path) -> None:
        dicts = load_slices(folder / "train_slices.list", [folder / "data"], ".h5")
        assert len(dicts) == 122
        mapper = make_mapper(True, (224, 224), num_classes=4)
        for entry in dicts[::10]:
            sample = mapper(entry)
            assert sample["image"].shape == (3, 224, 224)
            assert -0.5 < sample["image"].min() < sample["image"].max() < 1.5
            assert sample["sem_seg"].max() <= 3

    def test_volumes(self, folder: Path) -> None:
        dicts = load_volumes(folder / "val.list", [folder / "data"], ".h5")
        assert len(dicts) == 50
        assert len({entry["file_name"] for entry in dicts}) == 4
        assert make_mapper(False)(dicts[-1])["image"].isfinite().all()
