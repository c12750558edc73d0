"""Errors that are planted are counted exactly, and the report shows them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.evaluation import DatasetEvaluators
from pycocotools.cocoeval import COCOeval

from d2seg.cli import main
from d2seg.cli.train import finish
from d2seg.config import add_d2seg_config
from d2seg.evaluation import InstanceEvaluator, PanopticEvaluator, SemanticEvaluator
from d2seg.evaluation import instance as instance_evaluation
from d2seg.evaluation.records import TimedEvaluator, read_json
from d2seg.evaluation.report import Published, write_report, write_run_info
from evaluation import planted as cases
from evaluation.evaluation_cases import unregister

RIGHT = cases.NUM_OBJECTS - cases.SWAPS - cases.MISSES - cases.SHIFTS
# a detection of the right class in a place where none is has no part in these errors
PLANTED = {
    "right": RIGHT,
    "classification": cases.SWAPS,
    "localisation": cases.SHIFTS,
    "both": 0,
    "duplicate": cases.DUPLICATES,
    "background": 0,
    "missed": cases.MISSES,
}
WIDTHS = (390, 820, 1440)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """OUTPUT_DIR of an evaluation of the planted prediction on all three tasks."""
    folder = tmp_path_factory.mktemp("planted")
    planted = cases.plant(folder / "data")
    saved = {task: str(folder / "inference" / name) for task, name in planted.names.items()}
    evaluators = {
        "panoptic": PanopticEvaluator(planted.names["panoptic"], saved["panoptic"], record=True),
        "instance": InstanceEvaluator(planted.names["instance"], saved["instance"], record=True),
        "semantic": SemanticEvaluator(planted.names["semantic"], saved["semantic"], record=True),
    }
    results = {}
    for task, plain in evaluators.items():
        evaluator = TimedEvaluator(plain, planted.names[task], saved[task])
        evaluator.reset()
        for index, file_name in enumerate(planted.file_names):
            labels = torch.from_numpy(planted.labels[index])
            scores = torch.nn.functional.one_hot(labels, 5).permute(2, 0, 1) * 0.625 + 0.075
            output = {
                "panoptic_seg": planted.panoptic[index],
                "instances": planted.instances[index],
                "sem_seg": scores,  # 0.7 for the predicted class
            }
            inputs = {"image_id": index, "file_name": file_name, "height": 96, "width": 128}
            evaluator.process([inputs], [output])
        results[planted.names[task]] = evaluator.evaluate()
    (folder / "results.json").write_text(json.dumps(results, default=float))
    (folder / "metrics.json").write_text(metrics())
    write_run_info(
        folder,
        config="mask2former/coco_panoptic_resnet50",
        architecture="Mask2Former",
        weights="<weights>.pth",
        device="cpu",
        datasets=list(planted.names.values()),
        published=Published("PQ", "51.9", "https://example.org"),
    )
    write_report(folder)
    yield folder
    for name in planted.names.values():
        unregister(name)


def metrics() -> str:
    """Of a training that was killed while it wrote a line."""
    lines = [
        {
            "iteration": i,
            "total_loss": 9 / (i + 1),
            "loss_ce": 4 / (i + 1),
            "lr": 1e-4,
            "time": 0.3,
            "bad_steps": i // 40,
            **({"sem_seg/mIoU": i / 2} if i % 40 == 39 else {}),
        }
        for i in range(100)
    ]
    return "".join(json.dumps(line) + "\n" for line in lines) + '{"iteration": 100, "tot'


def record_of(run_dir: Path, task: str) -> dict:
    return read_json(run_dir / "inference" / cases.NAMES[task] / "records" / f"{task}.json")


def test_planted_errors_of_detections_are_counted_exactly(run_dir: Path) -> None:
    errors = record_of(run_dir, "instance")["errors"]
    assert errors["count"] == PLANTED
    by_class = np.array(record_of(run_dir, "instance")["errors"]["by_class"])
    assert by_class.sum(axis=0).tolist() == [PLANTED[kind] for kind in errors["kinds"]]
    assert sum(number for *_, number in errors["swaps"]) == cases.SWAPS
    assert all(found == (truth + 1) % 3 for truth, found, _ in errors["swaps"])


def test_each_kind_costs_what_it_should(run_dir: Path) -> None:
    errors = record_of(run_dir, "instance")["errors"]
    cost = dict(zip(errors["kinds"], errors["cost"], strict=True))
    assert cost["both"] == cost["background"] == 0
    # of one kind alone: more of them cost more
    assert cost["classification"] > cost["localisation"] > 0
    assert cost["missed"] > 0
    assert cost["duplicate"] >= 0


def test_ap_equals_pycocotools(run_dir: Path) -> None:
    evaluator = InstanceEvaluator(cases.NAMES["instance"])
    folder = run_dir / "inference" / cases.NAMES["instance"]
    results = json.loads((folder / "coco_instances_results.json").read_text())
    evaluation = COCOeval(evaluator._coco_api, evaluator._coco_api.loadRes(results), "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    record = record_of(run_dir, "instance")
    assert np.mean(record["ap"]["all"]) == pytest.approx(evaluation.stats[0], abs=1e-5)
    assert record["errors"]["ap50"] == pytest.approx(evaluation.stats[1], abs=1e-5)
    assert np.mean(record["ap"]["75"]) == pytest.approx(evaluation.stats[2], abs=1e-5)
    precision = evaluation.eval["precision"][:, ::4, :, 0, -1].transpose(2, 0, 1)
    np.testing.assert_allclose(record["curves"]["precision"], precision, atol=1e-3)


def test_best_thresholds_are_those_of_all_thresholds(run_dir: Path) -> None:
    record = record_of(run_dir, "instance")
    histogram = np.array(record["scores"])
    assert histogram[:, 0].sum() == RIGHT
    assert histogram[:, 1].sum() == cases.SWAPS + cases.SHIFTS + cases.DUPLICATES
    # duplicates have half the score of what they double: the threshold leaves them all out
    assert all(best["score"] > 0.5 for best in record["thresholds"])
    assert record["errors"]["count_certain"]["duplicate"] == 0


def test_panoptic_errors_are_counted_exactly(run_dir: Path) -> None:
    record = record_of(run_dir, "panoptic")
    right, spurious, missed = np.array(record["counts"])[:3].sum(axis=0)
    assert (right, spurious, missed) == (
        RIGHT,
        cases.SWAPS + cases.SHIFTS,
        cases.SWAPS + cases.SHIFTS + cases.MISSES,
    )
    kinds = dict(zip(record["kinds"], np.array(record["spurious"])[:3].sum(axis=0), strict=True))
    assert kinds["class"] == cases.SWAPS
    assert kinds["place"] == cases.SHIFTS
    swaps = np.array(record["swaps"])
    assert swaps.sum() == cases.SWAPS
    assert swaps[[0, 1, 2], [1, 2, 0]].sum() == cases.SWAPS


def test_semantic_counts_are_those_of_the_pixels(run_dir: Path, tmp_path: Path) -> None:
    planted = cases.plant(tmp_path / "again")
    expected = np.zeros((5, 5), int)
    for truth, labels in zip(planted.truth, planted.labels, strict=True):
        np.add.at(expected, (truth, labels), 1)
    record = record_of(run_dir, "semantic")
    assert np.array(record["confusion"]).tolist() == expected.tolist()
    pixels, confidence, right = np.array(record["calibration"]).T
    bin_of_all = int(0.7 * len(pixels))
    assert pixels[bin_of_all] == expected.sum()
    assert confidence[bin_of_all] == pytest.approx(0.7 * expected.sum(), rel=1e-5)
    assert right[bin_of_all] == np.trace(expected)


def test_the_page_is_small_and_tells_what_is_there(run_dir: Path) -> None:
    page = (run_dir / "report.html").read_text()
    assert len(page.encode()) < 5_000_000
    for text in ("published: 51.9", "&lt;weights&gt;.pth", "bad steps", "Boundary", "fingerprint"):
        assert text.lower() in page.lower(), text
    assert "<b>" not in page  # a class is called so


def test_again_from_the_files_alone(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (run_dir / "report.html").read_text()
    (run_dir / "report.html").unlink()
    assert main(["report", str(run_dir)]) == 0
    assert capsys.readouterr().out.strip() == str(run_dir / "report.html")
    assert (run_dir / "report.html").read_text().count("<figure") == before.count("<figure") > 20


def test_a_page_of_an_earlier_evaluation_is_not_taken_for_this_one(tmp_path, caplog) -> None:
    cfg = get_cfg()
    add_d2seg_config(cfg)
    cfg.OUTPUT_DIR, cfg.TEST.REPORT = str(tmp_path), False
    for has_page in (False, True):
        if has_page:
            (tmp_path / "report.html").write_text("of last week")
        caplog.clear()
        assert finish(cfg, {"sem_seg": {"mIoU": 50.0}}) == 0
        assert ("report.html shows an earlier evaluation" in caplog.text) == has_page
    assert (tmp_path / "report.html").read_text() == "of last week"


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda d: (d / "results.json").unlink(), "has no results.json"),
        (lambda d: (d / "results.json").write_text("{"), "results.json is damaged"),
        (lambda d: (d / "results.json").write_text("[]"), "results.json is damaged"),
        (lambda d: (d / "run.json").write_bytes(b"\xff"), "run.json is damaged"),
        (lambda d: record_file(d).write_text('{"classes": ["a"]}'), "not what this version"),
        (lambda d: record_file(d).write_text("nothing"), "semantic.json is damaged"),
        (lambda d: (d / "report.html").mkdir(), "report.html: [Errno 21] Is a directory"),
        (lambda d: edit(d / "run.json", published="yes"), "run.json is not what this version"),
        (lambda d: edit(d / "run.json", datasets=5), "run.json is not what this version"),
        (lambda d: edit(record_file(d), boundary=[10**400]), "semantic.json is not what"),
        (lambda d: edit(record_file(d), gallery=[{}]), "semantic.json is not what this version"),
        (lambda d: edit(record_file(d), gallery=odd_panels()), "entry 0 of its gallery has no"),
        (lambda d: edit(record_file(d, "run"), num_images="x"), "records/run.json is not what"),
        (lambda d: write_volumes(d, {"volumes": [1]}), "volumes.json is not what this version"),
        (
            lambda d: (record_file(d, "referring")).write_text('{"ious": 3}'),
            "referring.json is not",
        ),
    ],
)
def test_damaged_files_are_named_in_one_line(
    run_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    break_it: Callable[[Path], Any],
    message: str,
) -> None:
    for name in ("results.json", "run.json"):
        (tmp_path / name).write_bytes((run_dir / name).read_bytes())
    source, target = record_file(run_dir), record_file(tmp_path)
    target.parent.mkdir(parents=True)
    for file in source.parent.iterdir():
        (target.parent / file.name).write_bytes(file.read_bytes())
    break_it(tmp_path)
    assert main(["report", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def record_file(run_dir: Path, name: str = "semantic") -> Path:
    return run_dir / "inference" / cases.NAMES["semantic"] / "records" / f"{name}.json"


def edit(file: Path, **changes: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def odd_panels() -> list[dict]:
    texts = dict.fromkeys(("group", "title", "note"), "")
    return [{**texts, "classes": [], "panels": [["data:,", "", None]]}]


def write_volumes(run_dir: Path, content: dict) -> None:
    (record_file(run_dir).parents[1] / "volumes.json").write_text(json.dumps(content))


def test_scores_alone_make_a_page(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text('{"sem_seg": {"mIoU": 41.5, "IoU-a": NaN}}')
    assert "No records" in write_report(tmp_path).read_text()


def test_a_fault_of_a_record_costs_the_record_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    planted = cases.plant(tmp_path / "data")

    def fail(*_: object) -> None:
        raise RuntimeError("planted fault")

    monkeypatch.setattr(instance_evaluation, "instance_record", fail)
    evaluator = InstanceEvaluator(planted.names["instance"], str(tmp_path / "out"), record=True)
    evaluator.reset()
    for index in range(cases.NUM_IMAGES):
        evaluator.process([{"image_id": index}], [{"instances": planted.instances[index]}])
    assert evaluator.evaluate()["segm"]["AP"] > 0
    assert "the report will lack its part instance" in caplog.text


def test_an_evaluation_begins_without_the_records_of_the_last(tmp_path: Path) -> None:
    """It may have been of other tasks, which the page would show beside the new scores."""
    record = tmp_path / "records" / "semantic.json"
    record.parent.mkdir()
    record.write_text("{}")
    TimedEvaluator(DatasetEvaluators([]), "no_data", str(tmp_path)).reset()
    assert not record.exists()


@pytest.mark.parametrize("width", WIDTHS)
def test_in_a_browser(
    run_dir: Path, open_page: Callable[..., tuple[Any, list[str]]], width: int
) -> None:
    expect = pytest.importorskip("playwright.sync_api").expect
    page, errors = open_page(run_dir / "report.html", width)
    # nothing but tables, which scroll by themselves, is wider than the window
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert low_contrasts(page) == []
    head = page.locator("[id$=-pq] thead th:nth-child(3)").first
    # not by the mouse: what is loaded where the page scrolls to may move the table under it
    head.locator("button").dispatch_event("click")
    expect(head).to_have_attribute("aria-sort", "descending")
    select = page.locator("[data-filter-items]").first
    select.select_option(index=1)
    shown = page.locator(".gallery").first.locator("figure:visible").count()
    assert 0 < shown <= page.locator(".gallery").first.locator("figure").count()
    page.keyboard.press("Escape")
    assert errors == []


def test_by_keyboard(run_dir: Path, open_page: Callable[..., tuple[Any, list[str]]]) -> None:
    page, errors = open_page(run_dir / "report.html")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    for _ in range(60):  # a head of a table is reached, and sorts
        page.keyboard.press("Tab")
        if page.evaluate("!!document.activeElement.closest('thead')"):
            break
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.closest('th').hasAttribute('aria-sort')")
    page.locator("[data-zoom]").first.focus()
    page.keyboard.press("Enter")
    assert page.get_attribute("#zoom", "open") is not None
    page.keyboard.press("Escape")
    assert page.get_attribute("#zoom", "open") is None
    assert errors == []


def low_contrasts(page: Any) -> list[str]:
    """Texts whose contrast with what lies behind them is below 4.5 to 1 (WCAG 2.1, 1.4.3)."""
    return page.evaluate(
        """() => {
      const parse = (text) => text.match(/[\\d.]+/g).map(Number);
      const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
        .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
      const behind = (element) => {
        for (let e = element; e; e = e.parentElement) {
          const style = getComputedStyle(e);
          const gradient = style.backgroundImage.match(/rgb\\([^)]*\\)/);
          if (gradient) return parse(gradient[0]);
          const color = parse(style.backgroundColor);
          if (color.length < 4 || color[3] > 0.99) return color;
        }
        return [255, 255, 255];
      };
      const low = [];
      let seen = 0;
      const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
      while (walker.nextNode()) {
        const element = walker.currentNode.parentElement;
        if (!walker.currentNode.textContent.trim() || ["SCRIPT", "STYLE"].includes(element.tagName)) continue;
        const style = getComputedStyle(element);
        const ink = element instanceof SVGElement ? style.fill : style.color;
        if (ink === "none") continue;
        seen += 1;
        const [a, b] = [light(parse(ink)), light(behind(element))];
        const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (contrast < 4.5) low.push(`${contrast.toFixed(2)} ${element.textContent.slice(0, 40)}`);
      }
      return seen > 200 ? low : [`only ${seen} texts were found`];
    }"""
    )
