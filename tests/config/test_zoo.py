"""The table of configs, and their names."""

import re
from pathlib import Path

import pytest

from d2seg.config.loading import load_config
from d2seg.config.zoo import configs_folder, entry_of, find_config, nearest, read_table

NAMES = sorted(
    path.relative_to(configs_folder()).with_suffix("").as_posix()
    for path in configs_folder().glob("*/*.yaml")
    if not path.name.startswith("_base") and path.parent.name != "_base_"
)


def test_the_table_has_every_config_and_no_other() -> None:
    assert len(NAMES) > 100
    assert list(read_table()) == NAMES


def test_rows_are_complete_in_themselves() -> None:
    for entry in read_table().values():
        method, rest = entry.name.split("/")
        assert entry.method == method
        assert rest.startswith(f"{entry.dataset}_{entry.task}_")
        assert bool(entry.metric) == bool(entry.result), entry
        assert entry.source or not (entry.result or entry.url), entry
        assert entry.url.startswith("https://") or not entry.url
        assert re.fullmatch(r"[0-9a-f]{6,32}|", entry.md5)
        assert re.fullmatch(r"[0-9a-f]{6,64}|", entry.sha256)
        assert not (entry.md5 or entry.sha256) or entry.url


def test_an_address_serves_one_config() -> None:
    urls = [entry.url for entry in read_table().values() if entry.url]
    assert len(urls) > 80
    assert len(set(urls)) == len(urls)


def test_every_result_stands_in_the_documentation(repo_dir: Path) -> None:
    text = (repo_dir / "docs/model_zoo.md").read_text()
    for entry in read_table().values():
        if entry.result:
            assert entry.result.replace("/", " / ") in text, entry


def test_an_address_has_the_hash_that_the_file_must_have() -> None:
    entry = entry_of("mask2former/coco_panoptic_resnet50")
    assert entry.address.endswith("/maskformer2_R50_bs16_50ep/model_final_94dc52.pkl#md5=94dc52")
    assert entry.file_name == "model_final_94dc52.pkl"
    assert entry_of("mask2former/shapes_panoptic_small").address == ""


@pytest.mark.parametrize(
    "name",
    [
        "mask2former/shapes_panoptic_small",
        "mask2former/shapes_panoptic_small.yaml",
        "configs/mask2former/shapes_panoptic_small.yaml",
    ],
)
def test_a_name_works_in_any_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_config(name).MODEL.META_ARCHITECTURE == "Mask2Former"


@pytest.mark.parametrize("name", ["_base_/datasets/coco_panoptic", "mask2former/_base_", "../x"])
def test_what_is_no_config_to_be_run_has_no_name(name: str) -> None:
    assert find_config(name) is None


def test_a_training_starts_from_the_recipe_and_not_from_its_result() -> None:
    name = "mask2former/coco_panoptic_resnet50"
    start = load_config(name).MODEL.WEIGHTS
    assert start == load_config(str(configs_folder() / f"{name}.yaml")).MODEL.WEIGHTS
    assert "ImageNet" in start
    assert entry_of(name).address == load_config(name, trained=True).MODEL.WEIGHTS
    pairs = ["MODEL.WEIGHTS", "mine.pth"]
    assert load_config(name, pairs, trained=True).MODEL.WEIGHTS == "mine.pth"


def test_without_an_address_nothing_passes_for_trained(caplog: pytest.LogCaptureFixture) -> None:
    name = "setr/ade20k_semantic_pup_vit_large"
    assert load_config(name).MODEL.WEIGHTS
    assert load_config(name, trained=True).MODEL.WEIGHTS == ""
    assert f"see {entry_of(name).source}, and set MODEL.WEIGHTS" in caplog.text


def test_an_unknown_name_has_the_nearest_three_in_one_line() -> None:
    with pytest.raises(ValueError, match="there is no config") as caught:
        load_config("mask2former/coco_panoptic_swin_lage")
    message = str(caught.value)
    assert "\n" not in message
    assert "nearest names are mask2former/coco_panoptic_swin_large, maskformer/" in message
    assert message.count("former/") == 4
    assert (
        nearest("mask2former/coco_panoptic_swin_lage")[0] == "mask2former/coco_panoptic_swin_large"
    )
    with pytest.raises(ValueError, match="did you mean mask2former/coco_panoptic_swin_large"):
        load_config("coco_panoptic_swin_large")
