"""d2seg.engine.prepare: what is refused before anything starts."""

import argparse
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.engine import default_argument_parser
from detectron2.utils import comm
from toy_training import toy_cfg

from d2seg.engine import prepare
from d2seg.engine.prepare import check_run, check_weights, read_config, set_vocabulary, setup
from d2seg.text import SPECIAL_WORDS, Vocabulary

TOY = ["MODEL.DEVICE", "cpu", "DATASETS.TRAIN", "('toy',)"]


def parse(*argv: str) -> argparse.Namespace:
    return default_argument_parser().parse_args(argv)


def test_a_device_that_is_not_there_is_refused_at_once(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    read_config(parse(*TOY, "MODEL.DEVICE", "cuda"))
    with pytest.raises(ValueError, match=r"'cuda:3', but torch sees 1 CUDA devices"):
        read_config(parse(*TOY, "MODEL.DEVICE", "cuda:3"))


def test_command_line(tmp_path):
    args = parse(*TOY, "SOLVER.MAX_ITER", "7")
    cfg = read_config(args)
    assert isinstance(cfg, CfgNode)
    assert cfg.SOLVER.MAX_ITER == 7
    with pytest.raises(ValueError, match="unknown config key"):
        read_config(parse(*TOY, "SOLVER.MAXITER", "7"))


def test_the_home_folder_of_the_output(monkeypatch):
    monkeypatch.setenv("HOME", "/somewhere")
    assert read_config(parse(*TOY, "OUTPUT_DIR", "~/out")).OUTPUT_DIR == "/somewhere/out"


def test_a_folder_whose_name_is_no_text(tmp_path):
    """Neither logs nor torch's files take bytes that are no UTF-8."""
    cfg = read_config(parse(*TOY, "OUTPUT_DIR", f"{tmp_path}/\udcff"))
    with pytest.raises(ValueError, match=r"OUTPUT_DIR .* has characters that cannot be printed"):
        check_run(cfg, eval_only=False)


def test_weights_are_looked_for_before_a_model_is_built(tmp_path):
    def check(weights: str, eval_only: bool = False, resume: bool = False) -> None:
        args = parse(*TOY, "OUTPUT_DIR", str(tmp_path), "MODEL.WEIGHTS", weights)
        check_weights(read_config(args), eval_only, resume)

    check("")
    check("detectron2://ImageNetPretrained/MSRA/R-50.pkl")  # to be fetched
    with pytest.raises(ValueError, match=r"MODEL\.WEIGHTS is empty"):
        check("", eval_only=True)
    (tmp_path / "model_final.pth").touch()
    check(str(tmp_path / "model_final.pth"), eval_only=True)
    gone = str(tmp_path / "model_fina.pth")
    for eval_only in (False, True):
        with pytest.raises(ValueError, match=r"no checkpoint at .*; near it: model_final\.pth"):
            check(gone, eval_only)
        check(gone, eval_only, resume=True)  # goes on from the one that is there


def test_evaluation_needs_no_training_settings():
    zoo = "COCO-PanopticSegmentation/panoptic_fpn_R_50_1x.yaml"
    opts = ("MODEL.DEVICE", "cpu", "SOLVER.OPTIMIZER", "NONE")
    assert (
        "model_final"
        in read_config(parse("--eval-only", "--config-file", zoo, *opts)).MODEL.WEIGHTS
    )
    with pytest.raises(ValueError, match="OPTIMIZER"):
        read_config(parse("--config-file", zoo, *opts))


def test_declared_data_sets_are_registered(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere\.yaml"):
        read_config(parse(*TOY, "DATASETS.DECLARATIONS", f"('{tmp_path}/nowhere.yaml',)"))


@pytest.mark.parametrize("by_torchrun", [True, False])
def test_what_is_evaluated_is_checked_before_a_training_of_torchruns(
    by_torchrun: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(cfg: CfgNode) -> None:
        raise ValueError("the evaluation was looked at")

    def next_step(*args: object) -> None:
        raise ValueError("the evaluation was passed over")

    monkeypatch.setattr(prepare, "check_evaluation", refuse)
    monkeypatch.setattr(prepare, "claim_folder", next_step)
    monkeypatch.setattr(prepare, "check_data", lambda *args: None)
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    monkeypatch.setattr(comm, "get_local_rank", lambda: 0)
    monkeypatch.setattr(comm, "synchronize", lambda: None)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
        if by_torchrun:
            monkeypatch.setenv(name, "0")
    outcome = "looked at" if by_torchrun else "passed over"  # the launcher's parent looked at it
    with pytest.raises(ValueError, match=outcome):
        setup(parse(*TOY, "SOLVER.IMS_PER_BATCH", "2", "OUTPUT_DIR", str(tmp_path)))


def test_the_folder_is_held_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two runs that start in one moment, the later must leave the earlier's files alone."""
    held: list[str] = []

    def log(folder: str, **_: object) -> None:
        assert held == [folder]
        raise ValueError("the log was opened")

    monkeypatch.setattr(prepare, "hold", held.append)
    monkeypatch.setattr(prepare, "setup_logger", log)
    monkeypatch.setattr(prepare, "check_evaluation", lambda cfg: None)
    monkeypatch.setattr(prepare, "check_data", lambda *args: None)
    with pytest.raises(ValueError, match="the log was opened"):
        setup(parse(*TOY, "SOLVER.IMS_PER_BATCH", "2", "OUTPUT_DIR", str(tmp_path)))
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


@pytest.fixture
def referring(tmp_path) -> Iterator[CfgNode]:
    """A config of a data set of two expressions."""
    expressions = [{"id": 0, "sentence": "the red dog"}, {"id": 1, "sentence": "The cat."}]
    DatasetCatalog.register("said", lambda: [{"file_name": "a.jpg", "expressions": expressions}])
    cfg = toy_cfg(tmp_path, "INPUT.MAPPER", "referring")
    cfg.DATASETS.TRAIN = ("said",)
    if "RESTR" not in cfg.MODEL:
        cfg.MODEL.RESTR = CfgNode({"TEXT": {"VOCABULARY": ""}})
    yield cfg
    DatasetCatalog.remove("said")


def test_a_vocabulary_of_the_training_expressions_is_written(referring):
    set_vocabulary(referring, resume=False)
    file = Path(referring.OUTPUT_DIR) / "vocabulary.txt"
    assert str(file) == referring.MODEL.RESTR.TEXT.VOCABULARY
    assert Vocabulary.from_file(file).words == (*SPECIAL_WORDS, "the", "cat", "dog", "red")
    assert [path.name for path in file.parent.iterdir()] == ["vocabulary.txt"]


def test_a_vocabulary_that_is_named_stays(referring):
    referring.MODEL.RESTR.TEXT.VOCABULARY = "mine.txt"
    set_vocabulary(referring, resume=False)
    assert referring.MODEL.RESTR.TEXT.VOCABULARY == "mine.txt"
    assert not (Path(referring.OUTPUT_DIR) / "vocabulary.txt").exists()


@pytest.mark.parametrize(
    ("resume", "has_checkpoint", "num_words"),
    [(True, True, 5), (True, False, 8), (False, True, 8)],
)
def test_a_run_that_is_resumed_from_a_checkpoint_keeps_its_vocabulary(
    referring, resume, has_checkpoint, num_words
):
    file = Path(referring.OUTPUT_DIR) / "vocabulary.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    if has_checkpoint:
        (file.parent / "model_0000001.pth").touch()
    Vocabulary((*SPECIAL_WORDS, "dog")).save(file)
    set_vocabulary(referring, resume)
    assert len(Vocabulary.from_file(file)) == num_words


def test_the_first_process_of_a_machine_writes_and_the_others_wait(referring, monkeypatch):
    calls = []
    monkeypatch.setattr(comm, "get_local_rank", lambda: 1)
    monkeypatch.setattr(comm, "synchronize", lambda: calls.append("waited"))
    set_vocabulary(referring, resume=False)
    file = Path(referring.OUTPUT_DIR) / "vocabulary.txt"
    assert calls == ["waited"]
    assert not file.exists()
    assert str(file) == referring.MODEL.RESTR.TEXT.VOCABULARY
