"""Declarations whose words YAML takes for other types, that are empty, or that have no end."""

import json
import time
from pathlib import Path

import pytest
from dataset_files import unique_name, write_semantic

from d2seg.config.files import read_tree
from d2seg.data.datasets.declaration import read_declaration

SPLITS = "splits: {train: {images: images/train, labels: labels/train}}"


def declare(folder: Path, *lines: str, name: str = "", splits: str = SPLITS) -> Path:
    file = folder / "own.yaml"
    name = name or f"name: {unique_name('text')}"
    file.write_text("\n".join([name, "task: semantic", splits, *lines]) + "\n")
    return file


CLASSES = "classes: [a, b]"
# a line, and what is said of it
ASK_FOR_QUOTES = {
    "classes: [yes, no]": "class 0 is written yes, which YAML reads as True; .* quotes: 'yes'",
    "classes: [a, No]": "class 1 is written No, which YAML reads as False",
    "classes: [a, 010]": "class 1 is written 010, which YAML reads as 8; put it in quotes: '010'",
    "classes: [a, null]": "class 1 is written null, which YAML reads as None",
    "classes: [a, ~]": "class 1 is written ~, which YAML reads as None",
    "classes: [a, 1.10]": r"class 1 is written 1\.10, which YAML reads as 1\.1",
    "classes: [a, 1_000]": "class 1 is written 1_000, which YAML reads as 1000",
    "classes: [a, 0x1F]": "class 1 is written 0x1F, which YAML reads as 31",
    "classes: [a, 1:30]": "class 1 is written 1:30, which YAML reads as 90",
    "classes: [a, .inf]": r"class 1 is written \.inf, which YAML reads as inf",
    "classes: [on, b]": "class 0 is written on",
    "values: {0: no, 255: b}": "the class of value 0 is written no, which YAML reads as False",
    "values: {0: a, 0xFF: 010}": "the class of value 255 is written 010, which YAML reads as 8",
    "label_suffix: 010": "'label_suffix' is written 010, which YAML reads as 8",
    "root: 007": "'root' is written 007, which YAML reads as 7",
}


@pytest.mark.parametrize("line", ASK_FOR_QUOTES)
def test_words_of_other_types_ask_for_quotes(tmp_path, line: str) -> None:
    more = [] if line.startswith(("classes", "values")) else [CLASSES]
    file = declare(tmp_path, line, *more)
    with pytest.raises(ValueError, match=rf"own\.yaml: {ASK_FOR_QUOTES[line]}") as caught:
        read_declaration(file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("classes: [a, b]\nclasses: [b, a]", "the key 'classes' stands twice"),
        ("values: {0: a, 1: b, 0: c}", "the key '0' stands twice"),
        ("values: [a, b]", r"'values' has the form \{0: background, 255: polyp\}"),
        ("values: {}", "'values' has the form"),
        ("values: 3\nclasses: [a, b]", "'values' has the form"),
        ("values: {1: a, 01: b}", "two of the keys 1, 01 are one, written differently"),
        ("classes: [a, 'a ']", "the class 'a' is listed twice"),
        ('classes: [a, "b\\nc"]', "class 1 is 'b.nc', with characters that cannot be printed"),
        ("classes: [a, b]\ncolors: 5", "'colors' has one"),
        ("classes: [a, b]\ncolors: red", "'colors' has one"),
        ("classes: [a, b]\nignore_label: yes", "ignore_label is True; it is a number"),
        ("classes: [a, b]\nignore_label: '255'", "ignore_label is '255'; it is a number"),
        ("classes: [a, b]\nignore_label: 70000", "ignore_label is 70000, which a label map"),
        ("classes: [a, b]\nignore_label: 99999999999999999999", "it is 0 to 65535"),
        ("classes: [a, '']", "class 1 is empty; give it a name"),
        ("classes: [a, ' ']", "class 1 is empty"),
        ("values: {0: a, 1: }", "the class of value 1 is empty"),
        ("classes: [caf\u00e9, cafe\u0301]", "the class 'caf.' is listed twice"),
        ("classes: [a, b]\nobjects: parts", "'objects' is for label maps of task instance"),
        ("classes: 2", "'classes' is the list of class names, not 2; the first is label value 0"),
        ("classes: [a, !!binary aGVsbG8=]", "class 1 is written aGVsbG8="),
    ],
)
def test_other_values_that_mean_nothing(tmp_path, lines: str, message: str) -> None:
    with pytest.raises(ValueError, match=rf"own\.yaml: .*{message}") as caught:
        read_declaration(declare(tmp_path, lines))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("name: 007", "'name' is written 007, which YAML reads as 7; put it in quotes: '007'"),
        ("name: no", "'name' is written no"),
        ("name: null", "'name' is written null"),
        ("name:", "'name' is missing"),
        ("name: ''", "'name' is missing"),
        ("name: [a, b]", "'name' is a list of 2 values; it is one name"),
        ("name: {a: b}", "'name' is a dict of 1 values; it is one name"),
        (f"name: {'x' * 5000}", "it has at most 1000 characters"),
    ],
)
def test_the_name(tmp_path, name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        read_declaration(declare(tmp_path, CLASSES, name=name))
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ("splits: {no: {images: i, labels: l}}", "the name of a split is written no"),
        ("splits: {01: {images: i, labels: l}}", "the name of a split is written 01"),
        ("splits: {train: {images: 010, labels: l}}", "'images' of split 'train' is written 010"),
        ("splits: {train: {images: [i, j], labels: l}}", "'images' of split 'train' is a list"),
        ("splits: {train: {images: , labels: l}}", "needs the path of 'images'"),
    ],
)
def test_splits(tmp_path, splits: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_declaration(declare(tmp_path, CLASSES, splits=splits))


def test_words_that_mean_themselves_need_no_quotes(tmp_path) -> None:
    lines = "classes: [1, 2.5, 2024-01-31, 'no', \"010\", 12, null_, 1e3]"
    names = [category.name for category in read_declaration(declare(tmp_path, lines)).categories]
    assert names == ["1", "2.5", "2024-01-31", "no", "010", "12", "null_", "1e3"]
    content = {"name": 7, "task": "semantic", "classes": [1, 2], "splits": {"a": {}}}
    content["splits"]["a"] = {"images": "i", "labels": "l", "list": None}
    (tmp_path / "own.json").write_text(json.dumps(content))
    declaration = read_declaration(tmp_path / "own.json")
    assert declaration.dataset_names == ["7_a"]
    assert declaration.selections == {}


@pytest.mark.parametrize("form", ["tabs", "escapes", "UTF-16", "byte order mark"])
def test_files_as_other_programs_write_them(tmp_path, form: str) -> None:
    name = unique_name("written")
    content = {"name": name, "task": "semantic", "classes": ["a", "\U0001f600"]}
    content["splits"] = {"train": {"images": "i", "labels": "l"}}
    file = tmp_path / "own.json"
    text = json.dumps(content, indent="\t", ensure_ascii=form in ("tabs", "escapes"))
    encoding = {"UTF-16": "utf-16", "byte order mark": "utf-8-sig"}.get(form, "utf-8")
    file.write_text(text, encoding=encoding)
    declaration = read_declaration(file)
    assert [category.name for category in declaration.categories] == ["a", "\U0001f600"]
    if form == "UTF-16":
        yaml_file = tmp_path / "own.yaml"
        yaml_file.write_text(declare(tmp_path, CLASSES).read_text(), encoding="utf-16")
        assert len(read_declaration(yaml_file).categories) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"name": "a", "name": "b"}', "the key 'name' stands twice"),
        ('{"name": null, "task": "semantic", "splits": {}}', "'name' is "),
        ('{"name": "a\\ud800", "task": "x", "splits": {}}', "cannot be printed"),
        ('{"name": ' + "[" * 5000 + "]" * 5000 + "}", "nested too deep"),
        ('{"name": ' + "9" * 5000 + ', "task": "semantic", "splits": {"a": {}}}', "'name'|digits"),
    ],
)
def test_json_that_cannot_be(tmp_path, text: str, message: str) -> None:
    (tmp_path / "own.json").write_text(text)
    with pytest.raises(ValueError, match=rf"own\.json: .*({message})") as caught:
        read_declaration(tmp_path / "own.json")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("empty", ["", "''", "null", "~"])
def test_empty_is_unset(tmp_path, empty: str) -> None:
    write_semantic(tmp_path)
    keys = ("label_suffix", "root", "ignore_label", "colors", "values", "nearest_value")
    file = declare(tmp_path, CLASSES, *(f"{key}: {empty}" for key in keys))
    declaration = read_declaration(file)
    assert declaration.label_suffix == ""
    assert declaration.ignore_label == 255
    assert declaration.splits["train"]["images"] == tmp_path / "images/train"


def bomb(levels: int, form: str) -> str:
    """Items of a YAML list in which each has the one before ten times; {} in ``form`` for these."""
    items = [f"&x0 {form.format('a')}"]
    items += [
        f"&x{level} {form.format(', '.join(10 * [f'*x{level - 1}']))}" for level in range(1, levels)
    ]
    return f"colors: [{', '.join(items)}]"


MERGES = (
    "colors: [&x0 {a: b}, "
    + ", ".join(f"&x{n} {{<<: [{', '.join(10 * [f'*x{n - 1}'])}]}}" for n in range(1, 12))
    + "]"
)
NO_END = "its values hold each other so often that they have no end"
DEEP = "its values are nested (too|more than 100) deep"
BOMBS = {
    "lists in classes": (f"{bomb(12, '[{}]')}\nclasses: *x11", NO_END),
    "lists in one class": (f"{bomb(12, '[{}]')}\nclasses: [a, *x11]", NO_END),
    "few lists in one class": (f"{bomb(5, '[{}]')}\nclasses: [a, *x4]", "class 1 is a list of 10"),
    "few lists in the suffix": (
        f"{bomb(5, '[{}]')}\nclasses: [a, b]\nlabel_suffix: *x4",
        "'label_suffix' is a list of 10 values; it is one name",
    ),
    "few lists in values": (
        f"{bomb(5, '[{}]')}\nvalues: {{0: a, 1: *x4}}",
        "the class of value 1 is a list of 10 values",
    ),
    "merges": (f"{MERGES}\nclasses: *x11", NO_END),
    "long text many times": (
        f"colors: [&x {'y' * 100_000}]\nclasses: [{', '.join(500 * ['*x'])}]",
        "class 0 is yyy.* it has at most 1000 characters",
    ),
    "a long key": (f"{'y' * 100_000}: 1", "unknown key 'yyy|not valid YAML"),
    "itself": (
        "classes: &x [a, *x]",
        "(a value holds itself|found unconstructable recursive node)",
    ),
    "a thousand deep": (f"classes: {'[' * 1000}{']' * 1000}", DEEP),
    "fifty deep": (f"classes: [{'[' * 50}{']' * 50}]", "class 0 is a list of 1 values"),
    "mappings a thousand deep": (f"classes: {'{a: ' * 1000}b{'}' * 1000}", DEEP),
    "too many values": (f"colors: [{'1,' * 500_000}]", "a declaration has at most 400000 values"),
    "too many bytes": (f"# {'x' * 5_000_000}", "a declaration has at most 5000000 bytes"),
}


@pytest.mark.parametrize("case", BOMBS)
def test_what_has_no_end_is_refused_at_once(tmp_path, case: str) -> None:
    lines, message = BOMBS[case]
    file = declare(tmp_path, lines)
    start = time.process_time()
    with pytest.raises(ValueError, match=rf"own\.yaml: (not valid YAML: )?{message}") as caught:
        read_declaration(file)
    assert time.process_time() - start < 10
    assert len(str(caught.value)) < 600
    assert "\n" not in str(caught.value)


def test_merges_without_end_in_a_config(tmp_path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(BOMBS["merges"][0].replace("classes", "MODEL"))
    with pytest.raises(ValueError, match=r"config\.yaml: its values hold each other so often"):
        read_tree(file)
    file.write_text("a: &a {B: 1}\nMODEL: {<<: *a, C: 2}\n")
    assert read_tree(file)["MODEL"] == {"B": 1, "C": 2}
