"""Referring expressions for the objects of a scene, each of which means exactly one of them.

An expression is kept only where it clearly holds for one object and clearly fails for all others.
What a beholder could argue about (a little to the left, half on the grass) counts as doubtful and
is never kept.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .textures import RandomState

_SIZES = {"largest": 1, "smallest": -1}
_PLACES = {  # axis of the centre, and direction
    "leftmost": (0, -1),
    "rightmost": (0, 1),
    "topmost": (1, -1),
    "bottommost": (1, 1),
}
_RELATIONS = {"left of": (0, -1), "right of": (0, 1), "above": (1, -1), "below": (1, 1)}
_SURFACES = {
    "sky": "in the sky",
    "grass": "on the grass",
    "water": "in the water",
    "sand": "on the sand",
    "brick": "on the bricks",
}
_KINDS = ("attribute", "size", "place", "relation", "surface", "occlusion")
_KIND_ODDS = np.cumsum((0.14, 0.14, 0.14, 0.3, 0.14, 0.14)).tolist()
_DESCRIPTION_ODDS = np.cumsum((0.45, 0.25, 0.15, 0.15)).tolist()  # colour and class, class, ...
_MAX_PER_KIND = 3  # in one scene
_NUM_PROPOSALS = 400  # per scene, at most

# What counts as clear
_AREA_RATIO, _SIZE_RATIO = 1.35, 1.15  # between the largest (smallest) object and the next one
_PLACE_MARGIN = 14.0  # pixels between the centres of the outermost object and the next one
_RELATION_MARGIN, _NOT_RELATED_MARGIN = 18.0, 8.0  # pixels between centres, for and against
_RELATION_SLANT = 1.2  # largest offset across a direction, relative to the one along it
_ON_SURFACE, _OFF_SURFACE = 0.85, 0.15  # share of the object that lies on it
_HIDDEN = 0.08  # share of the object that another one covers


@dataclass(frozen=True)
class ObjectFacts:
    """The facts that an expression may use.

    ``center`` (x, y) and ``area`` are of the visible part, in pixels; ``size`` is the largest
    extent of the whole object; ``surface`` maps stuff names to the share of the object on them,
    ``hidden_by`` ids of objects in front to the share that each covers.
    """

    id: int
    name: str
    color: str
    center: tuple[float, float]
    area: int
    size: float
    surface: dict[str, float]
    hidden_by: dict[int, float]


@dataclass(frozen=True)
class Description:
    """A noun phrase without article; None leaves colour or class open."""

    color: str | None = None
    name: str | None = None

    def fits(self, item: ObjectFacts) -> bool:
        return self.color in (None, item.color) and self.name in (None, item.name)

    def __str__(self) -> str:
        return " ".join(filter(None, (self.color, self.name or "shape")))


@dataclass(frozen=True)
class Expression:
    """``kind`` is one of attribute, size, place, relation, surface, occlusion.

    ``word`` is "largest" (size), "leftmost" (place), "left of" (relation), a stuff name (surface)
    or "behind" (occlusion); relation and occlusion have an ``anchor``.
    """

    kind: str
    target: Description
    word: str = ""
    anchor: Description | None = None

    def __str__(self) -> str:
        if self.kind == "attribute":
            return f"the {self.target}"
        if self.kind in ("size", "place"):
            return f"the {self.word} {self.target}"
        if self.kind == "surface":
            return f"the {self.target} {_SURFACES[self.word]}"
        return f"the {self.target} {self.word} the {self.anchor}"


def resolve(expression: Expression, objects: Sequence[ObjectFacts]) -> ObjectFacts | None:
    """Return the one object that an expression clearly means, None where it is ambiguous."""
    verdicts = [(item, _holds(expression, item, objects)) for item in objects]
    possible = [(item, verdict) for item, verdict in verdicts if verdict is not False]
    if len(possible) == 1 and possible[0][1]:
        return possible[0][0]
    return None


def _holds(
    expression: Expression, item: ObjectFacts, objects: Sequence[ObjectFacts]
) -> bool | None:
    """True or False where that is clear, None where it is doubtful."""
    if not expression.target.fits(item):
        return False
    if expression.kind == "attribute":
        return True
    if expression.kind == "surface":
        share = item.surface.get(expression.word, 0.0)
        return _decide(share >= _ON_SURFACE, share <= _OFF_SURFACE)
    if expression.kind in ("size", "place"):
        others = [o for o in objects if o is not item and expression.target.fits(o)]
        if not others:  # "the largest star" among one star is odd
            return None
        is_beyond = _is_larger if expression.kind == "size" else _is_further
        return _decide(
            all(is_beyond(item, other, expression.word) for other in others),
            any(is_beyond(other, item, expression.word) for other in others),
        )
    anchors = [o for o in objects if expression.anchor.fits(o)]
    if len(anchors) != 1:
        return None
    if anchors[0] is item:
        return False
    if expression.kind == "occlusion":
        share = item.hidden_by.get(anchors[0].id, 0.0)
        return _decide(share >= _HIDDEN, share == 0)
    return _is_beside(item, anchors[0], expression.word)


def _decide(clearly: bool, clearly_not: bool) -> bool | None:
    if clearly:
        return True
    return False if clearly_not else None


def _is_larger(item: ObjectFacts, other: ObjectFacts, word: str) -> bool:
    """Clearly larger (or smaller), both in what is seen of it and as a whole."""
    if _SIZES[word] < 0:
        item, other = other, item
    return item.area >= _AREA_RATIO * other.area and item.size >= _SIZE_RATIO * other.size


def _is_further(item: ObjectFacts, other: ObjectFacts, word: str) -> bool:
    axis, sign = _PLACES[word]
    return sign * (item.center[axis] - other.center[axis]) >= _PLACE_MARGIN


def _is_beside(item: ObjectFacts, anchor: ObjectFacts, word: str) -> bool | None:
    axis, sign = _RELATIONS[word]
    along = sign * (item.center[axis] - anchor.center[axis])
    across = abs(item.center[1 - axis] - anchor.center[1 - axis])
    clearly = along >= _RELATION_MARGIN and across <= _RELATION_SLANT * along
    return _decide(clearly, along <= -_NOT_RELATED_MARGIN)


def draw_expressions(
    objects: Sequence[ObjectFacts], num_wanted: int, rng: RandomState
) -> list[tuple[Expression, ObjectFacts]]:
    """Draw different expressions and the objects they mean; at most ``num_wanted``."""
    drawn: dict[Expression, ObjectFacts] = {}
    for _ in range(_NUM_PROPOSALS):
        if len(drawn) == num_wanted:
            break
        kind = _KINDS[_draw(_KIND_ODDS, rng)]
        if sum(e.kind == kind for e in drawn) == _MAX_PER_KIND:
            continue
        expression = _propose(kind, objects, rng)
        if expression is None or expression in drawn:
            continue
        meant = resolve(expression, objects)
        if meant is not None:
            drawn[expression] = meant
    return list(drawn.items())


def _propose(kind: str, objects: Sequence[ObjectFacts], rng: RandomState) -> Expression | None:
    """Draw an expression that may or may not be clear; None where the kind finds nothing."""
    item = objects[rng.randint(len(objects))]
    target = _describe(item, rng)
    if kind == "attribute":
        return Expression(kind, target)
    if kind in ("size", "place"):
        words = list(_SIZES if kind == "size" else _PLACES)
        return Expression(kind, target, words[rng.randint(len(words))])
    if kind == "surface":
        return Expression(kind, target, max(item.surface, key=item.surface.get))
    if kind == "occlusion":
        in_front = [o for o in objects if o.id in item.hidden_by]
    else:
        in_front = [o for o in objects if o is not item]
    if not in_front:
        return None
    anchor = in_front[rng.randint(len(in_front))]
    phrase = Description(anchor.color if rng.rand() < 0.7 else None, anchor.name)
    if kind == "occlusion":
        return Expression(kind, target, "behind", phrase)
    axis = int(abs(item.center[1] - anchor.center[1]) > abs(item.center[0] - anchor.center[0]))
    sign = 1 if item.center[axis] > anchor.center[axis] else -1
    word = next(w for w, direction in _RELATIONS.items() if direction == (axis, sign))
    return Expression(kind, target, word, phrase)


def _describe(item: ObjectFacts, rng: RandomState) -> Description:
    """Mostly colour and class; sometimes only one of them, or just "shape"."""
    choice = _draw(_DESCRIPTION_ODDS, rng)
    color = item.color if choice in (0, 2) else None
    return Description(color, item.name if choice in (0, 1) else None)


def _draw(cumulative: list[float], rng: RandomState) -> int:
    """As ``rng.choice`` with these odds, whose checks of them take most of its time."""
    return bisect_right(cumulative, rng.random_sample() * cumulative[-1])
