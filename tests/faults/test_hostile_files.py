"""A checkpoint from the internet runs nothing, crashes nothing, and takes no more than its share."""

import pytest

from d2seg.checkpoint.files import read_checkpoint
from faults.hostile_files import MADE, all_cases, written
from faults.reading import outcomes

# harmless, for what they say is not asked, or is what numpy itself writes
MAY_LOAD = (
    "frame",
    "f8 with no flags",
    "i8 with no flags",
    "V8 with",
    "type V",
    "type S",
    "fields",
    "zip with another packed",
    "zip with a comment",
    "zip twice",
    "npz of a path",
    "may load: ",
)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("hostile")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        results = outcomes(read_checkpoint, written(all_cases(), folder))
    assert not list(folder.rglob(MADE))
    return results


def test_there_are_enough() -> None:
    assert len(all_cases()) >= 200


def test_none_does_harm(found: dict[str, str]) -> None:
    assert found.keys() == all_cases().keys()
    bad = {name: what for name, what in found.items() if what not in ("refused", "loaded")}
    assert not bad


def test_few_are_loaded(found: dict[str, str]) -> None:
    loaded = [name for name, what in found.items() if what == "loaded"]
    assert [name for name in loaded if not name.startswith(MAY_LOAD)] == []
