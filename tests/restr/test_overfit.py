"""From expressions to a checkpoint that holds its words: vocabulary, trainer, mapper, evaluator."""

from pathlib import Path

import cv2
import pytest

from d2seg.config.loading import load_config
from d2seg.data.referring.training import collect_vocabulary
from d2seg.prediction.building import build_predictor
from families.overfit import over_fit


@pytest.mark.slow
def test_over_fits_expressions_of_two_pictures(
    repo_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = repo_dir / "configs" / "restr" / "shapes_referring_small.yaml"
    small = tmp_path / "small.yaml"
    words = tmp_path / "words.txt"
    small.write_text(
        f"_BASE_: {config}\n"
        f"MODEL: {{RESTR: {{TEXT: {{VOCABULARY: {words}}}}}}}\n"
        "DATASETS: {TRAIN: [shapes_referring_val]}\n"  # with fewer expressions an image
        "INPUT: {REFERRING_SIZE: [96, 96], EXPRESSIONS_PER_IMAGE: 6}\n"
    )

    def with_vocabulary() -> None:
        collect_vocabulary(["shapes_referring_val"]).save(words)

    results = over_fit(small, 2, 50, tmp_path, monkeypatch, prepare=with_vocabulary)
    assert results["referring"]["oIoU"] > 60
    assert results["referring"]["listens"] > 80

    checkpoint = tmp_path / "output" / "model_final.pth"
    opts = ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", str(checkpoint)]
    opts += ["INPUT.REFERRING_SIZE", "(96, 96)"]
    words.unlink()  # the config of the run names a file that was left behind
    predictor = build_predictor(load_config(str(small), opts), "referring")
    assert len(predictor.model.text_encoder.vocabulary) > 10
    picture = next((tmp_path / "shapes").glob("images_val/*.jpg"))
    image = cv2.imread(str(picture))[:, :, ::-1]
    (result,) = predictor(image, expressions=["the largest shape"]).values()
    assert result.pred_masks.shape == (1, *image.shape[:2])
