"""tools/convert_config.py as a command."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from d2seg.cli import convert
from d2seg.config.loading import load_config

OFFICIAL = "MODEL: {META_ARCHITECTURE: MaskFormer, MASK_FORMER: {DEC_LAYERS: 3, ENC_LAYERS: 1}}\n"


@pytest.fixture
def tool(repo_dir: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("tool", repo_dir / "tools/convert_config.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_writes_what_it_can_and_says_what_it_cannot(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    source, target = tmp_path / "official.yaml", tmp_path / "ours.yaml"
    source.write_text(OFFICIAL)
    assert tool.main([str(source), str(target)]) == 1
    assert "not carried over: MODEL.MASK_FORMER.ENC_LAYERS 1" in capsys.readouterr().err
    assert load_config(str(target)).MODEL.MASKFORMER.NUM_DECODER_LAYERS == 3
    source.write_text(OFFICIAL.replace(", ENC_LAYERS: 1", ""))
    assert convert.main(["--config", str(source), str(target)]) == 0
    assert tool.main([str(source), str(target)]) == 0


def test_a_mistake_is_one_line(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    source = tmp_path / "official.yaml"
    source.write_text(OFFICIAL)
    for arguments in ([source, source], [tmp_path / "absent.yaml", tmp_path / "out.yaml"]):
        with pytest.raises(SystemExit) as end:
            tool.main([str(argument) for argument in arguments])
        assert end.value.code == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
