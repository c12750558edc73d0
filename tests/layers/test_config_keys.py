import ast
import re
from pathlib import Path

import pytest

from d2seg.layers.config_keys import naming_keys


def test_errors_of_users_gain_the_key() -> None:
    with pytest.raises(ValueError, match=r"^MODEL\.SIZE: 3 is odd$"), naming_keys("MODEL.SIZE"):
        raise ValueError("3 is odd")


def test_other_errors_pass() -> None:
    with pytest.raises(KeyError, match=r"^'lost'$"), naming_keys("MODEL.SIZE"):
        raise KeyError("lost")


def test_layers_know_no_keys(repo_dir: Path) -> None:
    """Whoever builds them from a config names its keys."""
    files = list((repo_dir / "projects" / "d2seg" / "layers").rglob("*.py"))
    assert len(files) > 10
    key = re.compile(r"\b(MODEL|INPUT|SOLVER|TEST|DATASETS|DATALOADER)\.[A-Z]|\b[A-Z]+_RATIO\b")
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not key.search(node.value), f"{file}:{node.lineno}"
