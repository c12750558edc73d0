from pathlib import Path

import pytest

from families.overfit import learn_by_heart


@pytest.mark.slow
def test_four_pictures_by_heart(
    repo_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = repo_dir / "configs" / "mask2former" / "shapes_panoptic_small.yaml"
    results = learn_by_heart(config, 120, tmp_path, monkeypatch)
    assert results["panoptic_seg"]["PQ"] > 85
    assert results["sem_seg"]["mIoU"] > 85
