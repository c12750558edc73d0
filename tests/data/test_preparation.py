import json
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from d2seg.cli.dataset_arguments import preparation_parser
from d2seg.data.preparation import (
    link_or_copy,
    replacing,
    require,
    require_any,
    run_parallel,
    run_script,
    save_image,
    save_json,
)


def test_a_file_appears_only_when_it_is_complete(tmp_path):
    target = tmp_path / "new" / "a.txt"
    with replacing(target) as temporary:
        temporary.write_text("half")
        assert not target.exists()
        assert temporary.suffix == ".txt"
    assert target.read_text() == "half"
    assert list(target.parent.iterdir()) == [target]


def interrupt(target: Path) -> None:
    with replacing(target) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt


def test_an_interruption_leaves_the_old_file_and_no_other(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        interrupt(target)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_images_and_json_come_back(tmp_path):
    labels = np.array([[0, 846, 65535]], np.uint16)
    save_image(labels, tmp_path / "a.tif")
    with Image.open(tmp_path / "a.tif") as image:
        assert np.array_equal(np.array(image), labels)
    save_json({"a": [1]}, tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": [1]}


def test_a_link_has_the_content_even_where_links_fail(tmp_path, monkeypatch):
    (tmp_path / "a").write_text("x")
    link_or_copy(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").samefile(tmp_path / "a")

    def refuse(self, target):
        raise OSError("no links")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    link_or_copy(tmp_path / "a", tmp_path / "c")
    assert (tmp_path / "c").read_text() == "x"
    assert not (tmp_path / "c").samefile(tmp_path / "a")


def test_results_keep_their_order_and_an_error_stops_the_rest():
    assert run_parallel(lambda x: x * x, range(20), 4, "squares") == [x * x for x in range(20)]
    done = []

    def work(number):
        if number == 1:
            raise ValueError("wrong")
        done.append(number)

    with pytest.raises(ValueError, match="wrong"):
        run_parallel(work, range(1000), 1, "fails")
    assert len(done) < 1000


def test_missing_sources_are_named(tmp_path, caplog):
    assert require(tmp_path, "") == tmp_path
    with pytest.raises(ValueError, match=r"there is no .*nowhere; get it"):
        require(tmp_path / "nowhere", "get it")
    with pytest.raises(ValueError, match=r"there is no .*a; get it"):
        require_any([tmp_path / "a", tmp_path / "b"], "get it")
    caplog.set_level(logging.WARNING)
    assert require_any([tmp_path / "a", tmp_path], "") == [tmp_path]
    assert "left out" in caplog.text


def test_a_mistake_ends_a_script_in_one_line(capsys):
    def fail():
        raise ValueError("there is no a\nb")

    with pytest.raises(SystemExit, match="2"):
        run_script(fail)
    assert capsys.readouterr().err == "error: there is no a\\nb\n"


def test_the_root_is_the_folder_of_the_data_sets(monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", "~/data")
    assert preparation_parser("").parse_args([]).root == Path("~/data").expanduser()
    monkeypatch.delenv("DETECTRON2_DATASETS")
    assert preparation_parser("").parse_args([]).root == Path("datasets")
    assert preparation_parser("").parse_args(["--root", "x"]).root == Path("x")
