"""Configs and declarations are data: what they say is never run, and has an end."""

from pathlib import Path

import pytest
import yaml

from d2seg.config.description import config_from_description
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


def test_bases_without_end(tmp_path: Path) -> None:
    """Forty files that each name the next one twice; a circle is told from them."""
    for number in range(40):
        name = f"b{number + 1}.yaml"
        (tmp_path / f"b{number}.yaml").write_text(f"_BASE_: [{name}, {name}]\n")
    (tmp_path / "b40.yaml").write_text("SEED: 1\n")
    with pytest.raises(ValueError, match=r"more than 200 _BASE_ files are to be read"):
        load_config(str(tmp_path / "b0.yaml"))
    (tmp_path / "twice.yaml").write_text("_BASE_: [b40.yaml, ./b40.yaml]\n")
    assert load_config(str(tmp_path / "twice.yaml")).SEED == 1
    (tmp_path / "b40.yaml").write_text(f"_BASE_: ../{tmp_path.name}/b39.yaml\n")
    with pytest.raises(ValueError, match=r"b39\.yaml: its _BASE_ files .* in a circle"):
        load_config(str(tmp_path / "b39.yaml"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SEED: !!bool maybe", "not valid YAML: 'maybe'"),
        ("SEED: 1" + ":59" * 200 + ".5", "not valid YAML: int too large"),
        ("SEED: 1" + ":59" * 200_000, "a number has 600001 characters"),
        ("SEED: " + "[" * 3000, "nested too deep"),
        ("_BASE_: " + "x" * 5000, "its _BASE_ '.*' does not exist"),
        ('_BASE_: "a\\nb.yaml"', "does not exist"),
        ("IMPORTS: [{a: b}]", "it is a list of names"),
        ("SEED: 1\nVERSION: 2\nSEED: 2", "key SEED stands twice, in the lines 1 and 3; leave one"),
        ("MODEL: {DEVICE: cpu, 'DEVICE': cuda}", "key DEVICE stands twice, in the lines 1 and 1"),
        ('VERSION: "a\\nb"', "VERSION is a b; only"),
        ('"a\\nb": 1', "unknown config key 'a b'"),
        ("SEED: " + "k" * 100_000, r"SEED is 'kkk+\.\.\., of type str"),
        ("#" * 1_000_001, "at most 1000000 bytes"),
    ],
)
def test_what_is_shown_is_a_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        load_config(str(file))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_the_config_within_a_checkpoint_has_an_end() -> None:
    for text in (BOMB, "a: &a {b: *a}", "SEED: !!bool maybe", TAGS["call"].format(made="x")):
        with pytest.raises(ValueError, match="its entry 'd2seg' is damaged"):
            config_from_description({"config": text, "classes": {}}, "m.pth")


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
