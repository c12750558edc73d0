"""Configs and declarations are data: what they say is never run, and has an end."""

from pathlib import Path

import pytest
import yaml

from d2seg.config.files import TRUST_VARIABLE
from d2seg.config.loading import load_config
from d2seg.data.datasets.declaration import read_declaration

TAGS = {
    "call": "!!python/object/apply:os.mkdir ['{made}']",
    "new": "!!python/object/new:os.system ['mkdir {made}']",
    "object": "!!python/object:pathlib.Path {{}}",
    "name": "!!python/name:os.system",
    "module": "!!python/module:os",
    "tuple": "!!python/tuple [1, 2]",
}
BOMB = "\n".join(
    ["a0: &a0 {x: 1}", *(f"a{i}: &a{i} {{x: *a{i - 1}, y: *a{i - 1}}}" for i in range(1, 40))]
)


@pytest.mark.parametrize("kind", TAGS)
@pytest.mark.parametrize("in_base", [False, True])
def test_a_config_runs_nothing(tmp_path: Path, kind: str, in_base: bool) -> None:
    file = tmp_path / "evil.yaml"
    file.write_text(f"SOLVER:\n  STEPS: {TAGS[kind].format(made=tmp_path / 'made')}\n")
    (tmp_path / "main.yaml").write_text("_BASE_: evil.yaml\n")
    with pytest.raises(ValueError, match=r"evil\.yaml, line 2: a !!python tag could run code"):
        load_config(str(tmp_path / "main.yaml" if in_base else file))
    assert not (tmp_path / "made").exists()


def test_the_switch_is_explicit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "own.yaml"
    file.write_text("SOLVER:\n  STEPS: !!python/tuple [1, 2]\n")
    monkeypatch.setenv(TRUST_VARIABLE, "1")
    assert load_config(str(file)).SOLVER.STEPS == (1, 2)


def test_detectron2s_own_configs_are_trusted(tmp_path: Path) -> None:
    """This one evaluates its sizes of anchors."""
    cfg = load_config("COCO-Detection/retinanet_R_50_FPN_1x.yaml")
    assert cfg.MODEL.ANCHOR_GENERATOR.SIZES[0][0] == 32


def test_aliases_without_end(tmp_path: Path) -> None:
    for name, text in {"bomb": BOMB, "circle": "a: &a {b: *a}"}.items():
        file = tmp_path / f"{name}.yaml"
        file.write_text(text)
        with pytest.raises(ValueError, match=rf"{name}\.yaml: .*(no end|holds itself)"):
            load_config(str(file))


def test_brackets_without_end() -> None:
    with pytest.raises(ValueError, match=r"SOLVER\.STEPS is"):
        load_config(None, ["SOLVER.STEPS", "(" * 5000])


@pytest.mark.parametrize("text", [f"name: {TAGS['call']}", BOMB, "name: [" * 5000])
def test_a_declaration_is_data(tmp_path: Path, text: str) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(text.format(made=tmp_path / "made") if "made" in text else text)
    with pytest.raises(ValueError, match=r"own\.yaml: not valid YAML"):
        read_declaration(file)
    assert not (tmp_path / "made").exists()


def test_the_attack_works_on_an_unsafe_reader(tmp_path: Path) -> None:
    yaml.unsafe_load(TAGS["call"].format(made=tmp_path / "made"))
    assert (tmp_path / "made").is_dir()
