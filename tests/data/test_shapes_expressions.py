"""Every referring expression of the data set "shapes" means exactly one object."""

import json
import re
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from d2seg.data.shapes import ensure_shapes
from d2seg.data.shapes.expressions import Description, Expression, ObjectFacts, resolve

CLASSES = "circle|square|triangle|star|ring|cross|heart|moon|shape"
COLORS = "red|orange|yellow|green|blue|purple|pink|white"
PHRASE = rf"(?:({COLORS}) )?({CLASSES})"
SURFACES = {
    "in the sky": "sky",
    "on the grass": "grass",
    "in the water": "water",
    "on the sand": "sand",
    "on the bricks": "brick",
}


class Object:
    """What the files say of an object; its place and area are measured in the panoptic picture."""

    def __init__(self, annotation: dict, name: str, mask: np.ndarray) -> None:
        self.id, self.name = annotation["id"], name
        self.color = annotation["attributes"]["color"]
        self.surface = annotation["attributes"]["surface"]
        self.hidden_by = annotation["attributes"]["hidden_by"]
        rows, columns = np.nonzero(mask)
        self.x, self.y, self.area = columns.mean(), rows.mean(), len(rows)


def meanings(sentence: str, objects: list[Object]) -> list[Object]:
    """All objects that a sentence may mean, read as generously as its words allow."""

    def fit(color: str | None, name: str) -> list[Object]:
        return [o for o in objects if color in (None, o.color) and name in ("shape", o.name)]

    def first(found: list[Object], key) -> list[Object]:
        best = min(key(o) for o in found)
        return [o for o in found if key(o) <= best + 5]

    if match := re.fullmatch(f"the {PHRASE}", sentence):
        return fit(*match.groups())
    if match := re.fullmatch(f"the (largest|smallest) {PHRASE}", sentence):
        sign = {"largest": -1, "smallest": 1}[match[1]]
        return first(fit(match[2], match[3]), lambda o: sign * o.area)
    if match := re.fullmatch(f"the (leftmost|rightmost|topmost|bottommost) {PHRASE}", sentence):
        key = {
            "leftmost": lambda o: o.x,
            "rightmost": lambda o: -o.x,
            "topmost": lambda o: o.y,
            "bottommost": lambda o: -o.y,
        }[match[1]]
        return first(fit(match[2], match[3]), key)
    if match := re.fullmatch(f"the {PHRASE} ((?:in|on) the \\w+)", sentence):
        surface = SURFACES[match[3]]
        return [o for o in fit(match[1], match[2]) if o.surface.get(surface, 0) > 0.16]
    pattern = f"the {PHRASE} (left of|right of|above|below|behind) the {PHRASE}"
    match = re.fullmatch(pattern, sentence)
    assert match, f"not understood: {sentence}"
    (anchor,) = fit(match[4], match[5])
    holds = {
        "left of": lambda o: o.x < anchor.x,
        "right of": lambda o: o.x > anchor.x,
        "above": lambda o: o.y < anchor.y,
        "below": lambda o: o.y > anchor.y,
        "behind": lambda o: str(anchor.id) in o.hidden_by,
    }[match[3]]
    return [o for o in fit(match[1], match[2]) if holds(o)]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> list[tuple[list[Object], list[dict]]]:
    """Objects and expressions of each image."""
    folder = tmp_path_factory.mktemp("datasets") / "shapes"
    ensure_shapes(folder, {"train": 80}, seed=11)
    tables = {
        kind: json.loads((folder / f"{kind}_train.json").read_text())
        for kind in ("instances", "panoptic", "referring")
    }
    names = {c["id"]: c["name"] for c in tables["instances"]["categories"]}
    result = []
    for entry in tables["panoptic"]["annotations"]:
        image_id = entry["image_id"]
        picture = np.asarray(Image.open(folder / "panoptic_train" / entry["file_name"]))
        ids = picture.astype(int) @ (1, 256, 65536)
        things = [s for s in entry["segments_info"] if s["category_id"] in names]
        annotations = [a for a in tables["instances"]["annotations"] if a["image_id"] == image_id]
        objects = [
            Object(a, names[a["category_id"]], ids == s["id"])
            for a, s in zip(annotations, things, strict=True)
        ]
        expressions = [e for e in tables["referring"]["expressions"] if e["image_id"] == image_id]
        result.append((objects, expressions))
    return result


def test_every_sentence_means_exactly_the_annotated_object(scenes):
    for objects, expressions in scenes:
        for expression in expressions:
            found = [o.id for o in meanings(expression["sentence"], objects)]
            assert found == [expression["annotation_id"]], expression["sentence"]


def test_expressions_are_several_and_varied(scenes):
    for _, expressions in scenes:
        assert 3 <= len(expressions) <= 18
        assert len({e["sentence"] for e in expressions}) == len(expressions)
    counts = Counter(e["kind"] for _, expressions in scenes for e in expressions)
    assert set(counts) == {"attribute", "size", "place", "relation", "surface", "occlusion"}
    assert min(counts.values()) >= 10
    ids = [e["id"] for _, expressions in scenes for e in expressions]
    assert len(set(ids)) == len(ids)


def thing(index: int, name: str, color: str, x: float, y: float, **others) -> ObjectFacts:
    facts = {"area": 400, "size": 24.0, "surface": {"sand": 1.0}, "hidden_by": {}} | others
    return ObjectFacts(index, name, color, (x, y), **facts)


def meant(kind: str, target: str, objects: list[ObjectFacts], word: str = "", anchor: str = ""):
    """Id of what an expression means; "red circle", "circle" and "red shape" describe objects."""

    def describe(text: str) -> Description:
        *color, name = text.split()
        return Description(color[0] if color else None, None if name == "shape" else name)

    item = resolve(
        Expression(kind, describe(target), word, describe(anchor) if anchor else None), objects
    )
    return None if item is None else item.id


def test_attributes():
    objects = [thing(1, "star", "red", 0, 0), thing(2, "star", "blue", 50, 0)]
    assert meant("attribute", "red star", objects) == 1
    assert meant("attribute", "blue shape", objects) == 2
    assert meant("attribute", "star", objects) is None
    assert meant("attribute", "circle", objects) is None


def test_sizes_need_a_clear_difference_both_seen_and_whole():
    small, large = thing(1, "star", "red", 0, 0), thing(2, "star", "red", 50, 0, area=900, size=36)
    hidden = thing(3, "star", "red", 90, 0, area=500, size=60)
    assert meant("size", "star", [small, large], "largest") == 2
    assert meant("size", "red star", [small, large], "smallest") == 1
    assert meant("size", "star", [small, large, hidden], "largest") is None
    assert meant("size", "star", [large], "largest") is None


def test_places_need_a_margin():
    objects = [thing(1, "star", "red", 10, 90), thing(2, "star", "red", 20, 50)]
    assert meant("place", "star", objects, "topmost") == 2
    assert meant("place", "shape", objects, "bottommost") == 1
    assert meant("place", "star", objects, "leftmost") is None


@pytest.mark.parametrize(
    ("word", "x", "y"),
    [("left of", 50, 90), ("right of", 150, 110), ("above", 90, 60), ("below", 110, 140)],
)
def test_relations(word, x, y):
    anchor = thing(1, "ring", "pink", 100, 100)
    there, opposite = thing(2, "star", "red", x, y), thing(3, "star", "red", 200 - x, 200 - y)
    assert meant("relation", "star", [anchor, there, opposite], word, "ring") == 2
    # a second star that is a little to that side makes it doubtful
    near = thing(4, "star", "red", 100 + (x - 100) / 10, 100 + (y - 100) / 10)
    assert meant("relation", "star", [anchor, there, near], word, "ring") is None
    second_anchor = thing(5, "ring", "blue", 100, 100)
    assert meant("relation", "star", [anchor, there, second_anchor], word, "ring") is None
    assert meant("relation", "star", [anchor, there, second_anchor], word, "pink ring") == 2


def test_relations_are_not_diagonal():
    objects = [thing(1, "ring", "pink", 100, 100), thing(2, "star", "red", 70, 30)]
    assert meant("relation", "star", objects, "left of", "ring") is None
    assert meant("relation", "star", objects, "above", "ring") == 2


def test_surfaces():
    objects = [
        thing(1, "star", "red", 0, 0, surface={"sand": 0.9, "sky": 0.1}),
        thing(2, "star", "red", 90, 0, surface={"sand": 0.1, "sky": 0.9}),
    ]
    assert meant("surface", "star", objects, "sand") == 1
    assert meant("surface", "star", objects, "sky") == 2
    half = thing(3, "star", "red", 50, 0, surface={"sand": 0.5, "grass": 0.5})
    assert meant("surface", "star", [*objects, half], "sand") is None
    assert meant("surface", "star", [*objects, half], "grass") is None


def test_occlusion():
    front = thing(1, "ring", "pink", 100, 100)
    behind = thing(2, "star", "red", 110, 100, hidden_by={1: 0.3})
    touched = thing(3, "star", "red", 90, 100, hidden_by={1: 0.02})
    free = thing(4, "star", "red", 10, 10)
    assert meant("occlusion", "star", [front, behind, free], "behind", "ring") == 2
    assert meant("occlusion", "star", [front, behind, touched], "behind", "ring") is None
    assert meant("occlusion", "star", [front, touched, free], "behind", "ring") is None


def test_sentences():
    star, ring = Description("red", "star"), Description(None, "ring")
    assert str(Expression("attribute", Description("red"))) == "the red shape"
    assert str(Expression("size", ring, "largest")) == "the largest ring"
    assert str(Expression("relation", star, "left of", ring)) == "the red star left of the ring"
    assert str(Expression("occlusion", ring, "behind", star)) == "the ring behind the red star"
    assert str(Expression("surface", ring, "brick")) == "the ring on the bricks"
