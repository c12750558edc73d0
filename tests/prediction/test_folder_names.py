"""Folders, lists and tables of pictures."""

import os
import sys
import tracemalloc
from pathlib import Path

import pytest

from d2seg.prediction.folders.names import NOT_UTF8, Names, read_folder, read_list
from d2seg.prediction.folders.running import _reported, open_input, parse_shard
from d2seg.prediction.formats.common import put


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def test_names_take_any_name() -> None:
    given = ["a", "", "mäuse/ß.jpg", os.fsdecode(b"\xff\xfe.png"), "x" * 1000]
    names = Names(given)
    assert list(names) == given
    assert [names[i] for i in range(len(names))] == given
    assert names.fingerprint() == Names(given).fingerprint()
    # the same letters, divided otherwise; another order
    assert names.fingerprint() != Names(["a", "mäuse/ß.jpg", "", *given[3:]]).fingerprint()
    assert Names(["ab", "c"]).fingerprint() != Names(["a", "bc"]).fingerprint()


class TestFolder:
    def test_pictures_at_any_depth_in_order(self, tmp_path: Path) -> None:
        touch(
            tmp_path, "b.jpg", "a/z.PNG", "a/b/c.tif", "notes.txt", ".hidden.png", ".thumbs/a.png"
        )
        source = read_folder(tmp_path)
        rows = list(source.rows(0, len(source)))
        assert [row["name"] for row in rows] == ["a/b/c.tif", "a/z.PNG", "b.jpg"]
        assert [row["id"] for row in rows] == [1, 2, 3]
        assert [row["stem"] for row in rows] == ["a/b/c", "a/z", "b"]
        assert [Path(row["path"]) for row in rows] == [tmp_path / row["name"] for row in rows]
        assert list(source.rows(1, 2)) == rows[1:2]

    def test_numbers_are_ids_where_all_differ(self, tmp_path: Path) -> None:
        touch(tmp_path, "000139.jpg", "a/000285.jpg")
        assert [row["id"] for row in read_folder(tmp_path).rows(0, 2)] == [139, 285]
        touch(tmp_path, "a/139.jpg")
        assert [row["id"] for row in read_folder(tmp_path).rows(0, 3)] == [1, 2, 3]

    def test_names_that_differ_in_their_ending_keep_it(self, tmp_path: Path) -> None:
        touch(tmp_path, "a.jpg", "a.png", "a.b.png", "b/a.jpg")
        stems = [row["stem"] for row in read_folder(tmp_path).rows(0, 4)]
        assert stems == ["a.b", "a.jpg", "a.png", "b/a"]

    def test_a_name_that_is_no_utf8_fails_alone(self, tmp_path: Path) -> None:
        touch(tmp_path, "a.png")
        try:
            (tmp_path / os.fsdecode(b"b\xff.png")).touch()
        except OSError:
            pytest.skip("this file system takes UTF-8 alone")
        first, second = read_folder(tmp_path).rows(0, 2)
        assert "error" not in first
        assert (second["error"], second["name"]) == (NOT_UTF8, "b\\xff.png")

    def test_links_that_lead_nowhere_are_pictures_that_cannot_be_read(self, tmp_path: Path) -> None:
        (tmp_path / "a.jpg").symlink_to("a.jpg")
        (tmp_path / "b.jpg").symlink_to("nowhere")
        (tmp_path / "c.jpg").touch()
        assert list(read_folder(tmp_path).names) == ["a.jpg", "b.jpg", "c.jpg"]

    def test_a_loop_of_links_ends(self, tmp_path: Path) -> None:
        touch(tmp_path, "a/b.png")
        (tmp_path / "a/up").symlink_to(tmp_path)
        assert len(read_folder(tmp_path)) == 1

    def test_an_empty_one(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"has no picture in it or below it \(\.bmp"):
            read_folder(touch(tmp_path, "a.txt"))


class TestList:
    def read(self, folder: Path, content: bytes) -> list[dict]:
        (folder / "list.txt").write_bytes(content)
        source = read_list(folder / "list.txt")
        return list(source.rows(0, len(source)))

    def test_paths_are_meant_from_the_list(self, tmp_path: Path) -> None:
        touch(tmp_path, "in/a.png", "in/sub/b.png", "in-b/c.png")
        (tmp_path / "lists").mkdir()
        lines = f"\ufeff../in/sub/b.png\r\n\n{tmp_path}/in/a.png\n../in-b/c.png"
        rows = self.read(tmp_path / "lists", lines.encode())
        assert [row["name"] for row in rows] == ["in/sub/b.png", "in/a.png", "in-b/c.png"]
        assert all(Path(row["path"]).exists() for row in rows)

    def test_one_folder_is_the_base(self, tmp_path: Path) -> None:
        touch(tmp_path, "in/a.png", "in/b.png")
        rows = self.read(tmp_path, b"in/b.png\nin/absent.png\n")
        assert [row["name"] for row in rows] == ["b.png", "absent.png"]

    def test_addresses_stay_as_they_are(self, tmp_path: Path) -> None:
        (row,) = self.read(tmp_path, b"s3://bucket/a.png\n")
        assert row["path"] == row["name"] == "s3://bucket/a.png"

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"a.png\nb.png\na.png\n", "names a picture twice: a.png, a.png; list each once"),
            (b"a.png\n./a.png\n", r"names a picture twice: a.png, \./a.png"),
            (b"a.png\n\xff.png\n", "line 2 is not UTF-8; save the list as UTF-8"),
            (b"a.png\n\0\n", "line 2 is no path"),
            (b"\n \n", "names no picture"),
            (b"x.png\ny.png\n", "there is no .*x.png, nor any other of its first 2; relative"),
        ],
    )
    def test_mistakes(self, tmp_path: Path, content: bytes, message: str) -> None:
        touch(tmp_path, "a.png", "b.png")
        with pytest.raises(ValueError, match=message):
            self.read(tmp_path, content)


def test_results_of_the_longest_names_can_be_written(tmp_path: Path) -> None:
    names = [f"{'x' * 251}.{suffix}" for suffix in ("jpg", "png")]
    names += [f"{'x' * 249}{number}.jpg" for number in (1, 2)] + ["a.jpg", "a.png", "b.jpg"]
    touch(tmp_path / "in", *names)
    rows = list(open_input(tmp_path / "in").rows(0, len(names)))
    for row in rows:
        put(tmp_path / "out" / f"{row['stem']}.json", b"")
    assert len(list((tmp_path / "out").iterdir())) == len(names)
    assert [row["stem"] for row in rows[:3]] == ["a.jpg", "a.png", "b"]


@pytest.mark.parametrize("name", ["list.txt", "table.parquet"])
def test_what_git_lfs_has_not_fetched_names_no_pictures(tmp_path: Path, name: str) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    (tmp_path / name).write_text(pointer)
    with pytest.raises(ValueError, match=rf"--input .*{name}.*: it is a Git LFS pointer; .*pull$"):
        open_input(tmp_path / name)


def test_failures_are_shown_in_one_line(capsys: pytest.CaptureFixture) -> None:
    assert _reported({"name": "a\n\x1b[31m.png", "error": "x"}, 0) == 1
    assert r"a\n\x1b[31m.png: x" in "".join(capsys.readouterr())


class TestTable:
    def write(self, file: Path, group: int = 3, **columns: list) -> Path:
        pyarrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pyarrow.table(columns), file, row_group_size=group)
        return file

    def test_any_range_of_rows(self, tmp_path: Path) -> None:
        paths = [f"{i}.png" for i in range(10)]
        source = open_input(self.write(tmp_path / "t.parquet", path=paths))
        rows = list(source.rows(0, 10))
        assert [row["name"] for row in rows] == paths
        assert [row["id"] for row in rows] == list(range(1, 11))
        assert rows[4]["path"] == str(tmp_path / "4.png")
        for start in range(10):
            for stop in range(start, 11):
                assert list(source.rows(start, stop)) == rows[start:stop]

    def test_ids_bytes_and_addresses(self, tmp_path: Path) -> None:
        table = self.write(
            tmp_path / "t.parquet",
            id=["x/1", "../y"],
            path=["s3://b/a.png", None],
            bytes=[None, b"1"],
        )
        first, second = open_input(table).rows(0, 2)
        assert (first["path"], first["stem"], "bytes" in first) == ("s3://b/a.png", "x/1", False)
        assert (second["bytes"], second["name"], second["stem"]) == (b"1", "../y", "y")

    def test_no_two_rows_are_written_to_one_file(self, tmp_path: Path) -> None:
        paths = ["a.jpg", "a.png", "b/c.jpg", "b/./c.jpg", "d/../b/e.jpg", "f.jpg", None]
        source = open_input(self.write(tmp_path / "t.parquet", path=paths))
        stems = [row["stem"] for row in source.rows(0, len(paths))]
        assert stems == ["a.jpg", "a.png", "b/c.jpg-3", "b/c.jpg-4", "d/b/e", "f", "7"]
        source = open_input(
            self.write(tmp_path / "t.parquet", id=["..", "x", "x/", "y.z"], path=list("abcd"))
        )
        assert [row["stem"] for row in source.rows(0, 4)] == ["1", "x-2", "x-3", "y.z"]

    def test_results_of_any_id_can_be_written(self, tmp_path: Path) -> None:
        """They are after all have been predicted."""
        ids = ["a\0b", "x" * 400, "x" * 401, "deep/" + "\u00e9" * 200 + "/c", "d/" * 900 + "e", "f"]
        paths = [f"{number}.png" for number in range(len(ids))]
        source = open_input(self.write(tmp_path / "t.parquet", id=ids, path=paths))
        rows = list(source.rows(0, len(ids)))
        assert [row["id"] for row in rows] == ids
        for row in rows:
            put(tmp_path / "out" / f"{row['stem']}.json", b"")
        written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
        assert len(written) == len(ids)
        assert [rows[0]["stem"], rows[-1]["stem"]] == ["ab", "f"]

    def test_the_fingerprint_knows_each_row(self, tmp_path: Path) -> None:
        first = open_input(self.write(tmp_path / "a.parquet", path=["a", "b"]))
        same = open_input(self.write(tmp_path / "b.parquet", 1, path=["a", "b"]))
        other = open_input(self.write(tmp_path / "c.parquet", path=["a", "c"]))
        assert first.fingerprint() != other.fingerprint()
        assert len({first.fingerprint(), same.fingerprint()}) == 1

    def test_mistakes(self, tmp_path: Path) -> None:
        for columns, message in (
            ({"picture": ["a"]}, "has the columns picture; one of path or bytes is needed"),
            ({"path": [1]}, "its column path is of int64; it needs string or large_string"),
            ({"id": [0.5], "path": ["a"]}, "its column id is of double; it needs int or uint"),
            ({"path": ["a", "b", "a"]}, "has 1 rows whose path an earlier row has"),
            ({"id": [1, 1], "path": ["a", "b"]}, "has 1 rows whose id an earlier row has"),
        ):
            with pytest.raises(ValueError, match=message):
                open_input(self.write(tmp_path / "t.parquet", **columns))
        (tmp_path / "t.parquet").write_bytes(b"no table")
        with pytest.raises(ValueError, match="is no Parquet file"):
            open_input(tmp_path / "t.parquet")


def test_a_name_takes_few_bytes(tmp_path: Path) -> None:
    """So that a million of them take 300 MiB at most, while the list is read and afterwards."""
    number = 20_000
    touch(tmp_path, "tile_0000000.jpg")
    names = (f"tile_{place:07d}.jpg\n" for place in range(number))
    (tmp_path / "list.txt").write_text("".join(names))
    tracemalloc.start()
    source = read_list(tmp_path / "list.txt")
    now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(source) == number
    assert now < 100 * number
    assert peak < 300 * number


def test_a_table_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match="pip install 'pyarrow>=14,<24'"):
        open_input(touch(tmp_path, "t.parquet") / "t.parquet")


def test_what_is_no_input(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        open_input(tmp_path / "absent")
    with pytest.raises(ValueError, match=r"give a folder, a list that ends in \.txt"):
        open_input(touch(tmp_path, "a.png") / "a.png")


def test_shards() -> None:
    assert parse_shard("0/1") == (0, 1)
    assert parse_shard("7/8") == (7, 8)
    for text, message in (
        ("8/8", r"count from 0 to 7 of 8; an array of SLURM needs --array=0-7"),
        ("0/0", "count from 0"),
        ("1", "write i/n"),
        ("-1/2", "write i/n"),
        ("a/b", "write i/n"),
        ("1/2/3", "write i/n"),
    ):
        with pytest.raises(ValueError, match=message):
            parse_shard(text)
