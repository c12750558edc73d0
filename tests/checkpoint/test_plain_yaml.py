"""YAML is read as data: what would have no end, or is of another type than it says, is refused."""

import pytest

from d2seg.checkpoint.plain_yaml import check_merges, load_plain_yaml


def levels(line: str, count: int = 40) -> str:
    """Mappings, each made of the one before; ``{i}`` and ``{j}`` stand for both."""
    return "\n".join(["a0: &a0 {x: 1}", *(line.format(i=i, j=i - 1) for i in range(1, count))])


MERGES = {
    "list": levels("a{i}: &a{i} {{<<: [*a{j}, *a{j}]}}"),
    "twice": levels("a{i}: &a{i} {{<<: *a{j}, <<: *a{j}}}"),
    "tag": levels("a{i}: &a{i} {{!!merge m: [*a{j}, *a{j}]}}"),
    "escaped tag": levels('a{i}: &a{i} {{!!mer%67e "m": [*a{j}, *a{j}]}}'),
    "handle": "%TAG !m! tag:yaml.org,2002:\n---\n"
    + levels("a{i}: &a{i} {{!m!merge m: [*a{j}, *a{j}]}}"),
}


@pytest.mark.parametrize("kind", MERGES)
def test_merges_without_end(kind: str) -> None:
    """Not all versions of PyYAML leave out what is merged twice."""
    with pytest.raises(ValueError, match="its values hold each other so often"):
        check_merges(MERGES[kind], 100_000)


def test_merges_that_end() -> None:
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: {<<: [*a, {z: 4}]}"
    assert load_plain_yaml(text, 20)["b"] == {"x": 1, "y": 3}
    with pytest.raises(ValueError, match="merged into itself"):
        load_plain_yaml("a: &a\n  <<: *a\n", 20)


@pytest.mark.parametrize(
    "text",
    [
        "a: !!bool maybe",
        "a: !!int b",
        "a: !!float b",
        "a: !!timestamp b",
        "a: 2001-99-99",
        "a: 1" + ":59" * 200 + ".5",
        "a: 1" + ":59" * 200_000,
        "a: " + "9" * 5000,
        "a: " + "[" * 3000 + "]" * 3000,
        levels("a{i}: &a{i} {{x: *a{j}, y: *a{j}}}"),
        "a: &a {b: *a}",
        "? [a]\n: b",
        "a: !!python/object/apply:os.mkdir [x]",
        "a: !<tag:yaml.org,2002:python/object/apply:os.mkdir> [x]",
        "a: [",
        "a: \0",
    ],
)
def test_what_is_no_data_is_refused_in_a_line(text: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        load_plain_yaml(text, 100_000)
    assert "\n" not in str(caught.value)
    assert 0 < len(str(caught.value)) <= 200
