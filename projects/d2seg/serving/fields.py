"""Fields of a request, as text, to a question."""

import difflib
import math
from collections import Counter
from collections.abc import Callable, Sequence

from .questions import Limits, Question, RefusedError

FIELDS = ("task", "confidence", "expression", "name", "picture")
_REPEATED = frozenset({"expression"})
_TRUTH = {"1": True, "true": True, "0": False, "false": False}


def make_question(
    fields: Sequence[tuple[str, str]],
    file_name: str | None,
    content: bytes,
    tasks: Sequence[str],
    limits: Limits,
) -> Question:
    """
    Args:
        fields: names and values, in their order.
        file_name: of a form; None: a field may say it.
        tasks: of the model; the first is that of a request which names none.

    Raises:
        RefusedError: a field makes no sense, or there is no picture.
    """
    _check_names([name for name, _ in fields])
    given = dict(fields)
    task = given.get("task", tasks[0])
    if task not in tasks:
        raise RefusedError(422, f"task is {task!r}; this model offers {', '.join(tasks)}")
    if not content:
        raise RefusedError(
            400, "the request has no picture: send the file as the body, or as image in a form"
        )
    name = file_name or given.get("name") or "picture"
    return Question(
        content=content,
        name=_without_folders(name)[-limits.max_letters :],
        task=task,
        confidence=_parsed(given, "confidence", _share, None),
        expressions=_expressions([text for key, text in fields if key == "expression"], limits),
        with_picture=_parsed(given, "picture", _truth, False),
    )


def _check_names(names: Sequence[str]) -> None:
    for name, number in Counter(names).items():
        if name not in FIELDS:
            [near] = difflib.get_close_matches(name, FIELDS, n=1, cutoff=0.0)
            raise RefusedError(
                400,
                f"there is no field {name[:50]!r}; the nearest is {near!r} of {', '.join(FIELDS)}",
            )
        if number > 1 and name not in _REPEATED:
            raise RefusedError(400, f"the field {name!r} is given {number} times")


def _parsed(given: dict[str, str], name: str, read: Callable, default: object) -> object:
    if name not in given:
        return default
    try:
        return read(given[name])
    except ValueError as error:
        raise RefusedError(422, f"{name} is {given[name][:50]!r}; {error}") from error


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise ValueError("it is a number from 0 to 1")
    return value


def _truth(text: str) -> bool:
    if text.lower() not in _TRUTH:
        raise ValueError("it is true or false")
    return _TRUTH[text.lower()]


def _expressions(texts: Sequence[str], limits: Limits) -> tuple[str, ...]:
    if len(texts) > limits.max_expressions:
        raise RefusedError(
            422, f"there are {len(texts)} expressions; at most {limits.max_expressions} are taken"
        )
    for text in texts:
        if len(text) > limits.max_letters:
            raise RefusedError(
                422,
                f"the expression {text[:30]!r}... has {len(text)} letters; at most "
                f"{limits.max_letters} are taken",
            )
    return tuple(texts)


def _without_folders(name: str) -> str:
    return name.replace("\\", "/").rpartition("/")[2] or "picture"
