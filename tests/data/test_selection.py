"""The images of a split, worked out by hand."""

from pathlib import Path

import pytest

from d2seg.data.datasets.selection import Selection, natural_order, parse_selection

STEMS = ["a10", "a2", "a1", "b3"]


def test_numbers_in_names_sort_by_size():
    assert sorted(STEMS, key=natural_order) == ["a1", "a2", "a10", "b3"]
    assert sorted(["10", "x", "9", "x/2", "x/10"], key=natural_order) == [
        "9", "10", "x", "x/2", "x/10",
    ]  # fmt: skip


def test_a_pattern_and_a_part():
    assert Selection(names="a*").pick(STEMS) == ["a1", "a2", "a10"]
    assert Selection(part=(0, 0.5)).pick(STEMS) == ["a1", "a2"]
    assert Selection(names="a*", part=(0.5, 1)).pick(STEMS) == ["a2", "a10"]  # from floor(1.5) on
    with pytest.raises(ValueError, match=r"no image has a name like 'c\*'"):
        Selection(names="c*").pick(STEMS)
    with pytest.raises(ValueError, match=r"'part' \[0, 0\.2\] of 4 images is none"):
        Selection(part=(0, 0.2)).pick(STEMS)


@pytest.mark.parametrize(("count", "first"), [(612, 550), (670, 603), (10, 9), (1, 0)])
def test_nine_tenths_and_the_last_one_are_all_images_once(count, first):
    stems = [str(i) for i in range(1, count + 1)]
    rest = Selection(part=(0.9, 1)).pick(stems)
    assert rest == stems[first:]
    if first:
        assert Selection(part=(0, 0.9)).pick(stems) + rest == stems


def test_a_bound_that_is_a_whole_number_of_images_is_that_number():
    for percent in range(1, 101):  # 0.57 * 100 = 56.99999999999999
        assert len(Selection(part=(0, percent / 100)).pick(map(str, range(100)))) == percent


def test_a_list_has_stems_or_file_names(tmp_path):
    file = tmp_path / "train.txt"
    file.write_text("b3.jpg\n\n a10 \r\na1\n", encoding="utf-8-sig")
    assert Selection(file).pick(STEMS) == ["a1", "a10", "b3"]
    assert Selection(file).pick(["a1", "a10", "b3", "v1.5"]) == ["a1", "a10", "b3"]
    file.write_text("v1.5\n")
    assert Selection(file).pick(["v1.5", "v1"]) == ["v1.5"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a1\nc7\nc8.jpg\n", r"train\.txt: 2 of 3 images are not there, as c7"),
        ("a1\na2\na1.png\n", r"train\.txt lists a1\.png twice"),
        ("\n", r"train\.txt lists no image"),
        (b"\xff\xfe\xfa", "the list of images cannot be read"),
        (b"f\xe4lle\n", r"cannot be read: .*train\.txt: .*; save it in UTF-8"),
    ],
)
def test_a_list_that_does_not_fit_is_refused(tmp_path, content, message):
    file = tmp_path / "train.txt"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message):
        Selection(file).pick(STEMS)
    with pytest.raises(ValueError, match=r"cannot be read: .*absent\.txt"):
        Selection(tmp_path / "absent.txt").pick(STEMS)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_list_as_windows_writes_it(tmp_path, encoding: str) -> None:
    (tmp_path / "train.txt").write_bytes("a2.jpg\r\na1.jpg\r\n".encode(encoding))
    assert Selection(tmp_path / "train.txt").pick(STEMS) == ["a1", "a2"]


@pytest.mark.parametrize("file", [Path("/dev/zero"), Path("/dev")])
def test_a_list_that_has_no_end_is_refused(file: Path) -> None:
    with pytest.raises(ValueError, match=f"cannot be read: {file}: it is no regular file"):
        Selection(file).pick(STEMS)


def test_keys_of_a_split(tmp_path, monkeypatch):
    monkeypatch.setenv("LISTS", "lists")
    split = {"images": "i", "labels": "l", "list": "$LISTS/a.txt", "part": [0, 1]}
    assert parse_selection(split, tmp_path) == Selection(tmp_path / "lists/a.txt", None, (0.0, 1.0))
    for part in ([0.5, 0.5], [0.9, 0.1], [0, 1.1], [-0.1, 1], 0.5, [0], ["a", "b"], [False, True]):
        with pytest.raises(ValueError, match=r"'part' is .*; it is \[from, to\]"):
            parse_selection({"part": part}, tmp_path)
    with pytest.raises(ValueError, match="'names' is 3; it is a pattern"):
        parse_selection({"names": 3}, tmp_path)
