"""docs/serving.md says what the command takes and the server answers."""

import json
import re
import shlex
from itertools import pairwise
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from d2seg.cli.serve import PORT, make_parser
from d2seg.serving.fields import FIELDS
from d2seg.serving.questions import Limits
from d2seg.serving.schemas import EVENTS, Answer


@pytest.fixture(scope="module")
def text(repo_dir: Path) -> str:
    return (repo_dir / "docs/serving.md").read_text()


def commands(text: str) -> list[list[str]]:
    blocks = re.findall(r"```bash\n(.*?)```", text, re.S)
    return [shlex.split(line) for block in blocks for line in block.splitlines()]


def test_commands(text: str) -> None:
    served = [words for words in commands(text) if words[:2] == ["d2seg", "serve"]]
    assert len(served) == 3
    for words in served:
        assert make_parser().parse_args(words[2:]).weights
    asked = [words for words in commands(text) if words[0] == "curl"]
    assert len(asked) == 2
    for words in asked:
        address = urlsplit(words[-1])
        assert (address.path, address.port) == ("/predict", PORT)
        forms = [after for word, after in pairwise(words) if word == "-F"]
        names = [form.partition("=")[0] for form in forms]
        assert {*names, *dict(parse_qsl(address.query))} <= {*FIELDS, "image"}


def test_the_answer_and_the_limits(text: str) -> None:
    (block,) = re.findall(r"```json\n(.*?)```", text, re.S)
    Answer.model_validate(json.loads(block))
    assert EVENTS in text
    limits, given = Limits(), make_parser().parse_args(["--weights", "a.pth"])
    assert f"--max-megabytes {given.max_megabytes}`" in text
    assert f"--max-pixels {given.max_pixels}`" in text
    assert given.max_pixels == limits.max_pixels
    assert f"--max-waiting {given.max_waiting}`" in text
    assert given.max_waiting == limits.max_waiting
    assert f"--time-limit {given.time_limit}`" in text
    assert f"| {limits.max_held >> 20} MiB |" in text
    assert f"| {limits.upload_seconds:g} s |" in text
    assert f"| {limits.max_expressions}, {limits.max_letters} |" in text
