"""OUTPUT_DIR of every kind, and evaluations without anything to evaluate on."""

import pytest
from detectron2.config import get_cfg
from detectron2.engine import default_argument_parser

from d2seg.cli import visualize
from d2seg.engine.output_folder import check_folder
from d2seg.engine.prepare import check_run, setup


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("", "OUTPUT_DIR is empty; name the folder"),
        ("  ", "OUTPUT_DIR is empty"),
        ("s3://bucket/run", "OUTPUT_DIR s3://bucket/run is an address; name a folder"),
        ("{}/file", r"OUTPUT_DIR .*/file cannot be written to \(it is a file\)"),
        ("{}/file/below", r"below cannot be written to \(Not a directory\)"),
        ("{}/link", r"link cannot be written to"),
        ("/proc/output", r"/proc/output cannot be written to \("),
        ("/sys", r"/sys cannot be written to \("),
        ("{}/" + 300 * "a", r"cannot be written to \(File name too long\); choose another"),
        ("{}/a\0b", r"cannot be written to \(embedded null byte\)"),
    ],
)
@pytest.mark.parametrize("eval_only", [True, False])
def test_refused(tmp_path, folder: str, message: str, eval_only: bool) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere" / "deep")
    folder = folder.format(tmp_path)
    with pytest.raises(ValueError, match=message):
        check_folder(folder)
    argv = ["--eval-only"] if eval_only else []
    config = ["--config-file", "segformer/shapes_semantic_small", "MODEL.DEVICE", "cpu"]
    args = default_argument_parser().parse_args([*argv, *config, "OUTPUT_DIR", folder])
    with pytest.raises(ValueError, match=message):
        setup(args)


def test_names_that_would_spoil_the_log_are_refused(tmp_path) -> None:
    cfg = get_cfg()
    cfg.OUTPUT_DIR = f"{tmp_path}/a\nb\x1b[31m"
    with pytest.raises(ValueError, match=r"OUTPUT_DIR .*a\nb.* has characters that can"):
        check_run(cfg, eval_only=False)
    assert not list(tmp_path.iterdir())


def test_a_folder_is_made_and_left_empty(tmp_path) -> None:
    check_folder(str(tmp_path / "a" / "b"))
    assert list((tmp_path / "a" / "b").iterdir()) == []


@pytest.mark.parametrize("tests", ["()", "[]"])
def test_an_evaluation_needs_a_data_set(tests: str) -> None:
    argv = ["--eval-only", "--config-file", "segformer/shapes_semantic_small"]
    argv += ["MODEL.DEVICE", "cpu", "DATASETS.TEST", tests]
    with pytest.raises(ValueError, match=r"DATASETS\.TEST is empty; name a data set"):
        setup(default_argument_parser().parse_args(argv))


@pytest.mark.usefixtures("few_shapes")
@pytest.mark.parametrize("output", ["file", "file/below"])
def test_pictures_of_data_sets_need_a_folder(tmp_path, capsys, output: str) -> None:
    (tmp_path / "file").write_text("")
    target = ["shapes_sem_seg_val", "--output", str(tmp_path / output)]
    assert visualize.main(target) == 2
    reason = "it is a file" if output == "file" else "Not a directory"
    text = f"--output {tmp_path / output} cannot be written to ({reason}); choose another"
    assert capsys.readouterr().err.startswith(f"error: {text}")
    with pytest.raises(SystemExit, match="2"):
        visualize.main([*target[:2], str(tmp_path / "new"), "--num-images", "0"])
    assert "--num-images is 0; it is at least 1" in capsys.readouterr().err
