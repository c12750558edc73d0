"""A report as one HTML file: nothing is fetched when it is opened, and it opens from disk.

A page extends ``templates/base.html``, which brings style and scripts, and uses the macros of
``templates/macros.html``. Whatever is put into it is escaped, names of files and classes too.
"""

import math
from pathlib import Path
from types import ModuleType
from typing import Any

TEMPLATES = Path(__file__).with_name("templates")
NO_VALUE = "\u2013"  # a dash, where a number is not defined


class TemplateMissingError(ImportError):
    """Jinja2, which makes the pages, is not installed."""


def import_jinja2() -> ModuleType:
    """
    Raises:
        TemplateMissingError: it is not installed; the message has the command that brings it.
    """
    try:
        import jinja2  # torch requires it, so it is rarely missing
    except ImportError as error:
        raise TemplateMissingError(
            "a report needs Jinja2, which is not installed: `pip install jinja2`"
        ) from error
    return jinja2


def render(template: str, folder: Path, **values: Any) -> str:
    """The page that a template makes of ``values``.

    Args:
        template: name of a file in ``folder``, or in this package's ``templates``.
        folder: of the report's own templates.

    Raises:
        TemplateMissingError: Jinja2 is not installed; the message has the command that brings it.
    """
    jinja2 = import_jinja2()
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, TEMPLATES]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    environment.filters["count"] = count
    page = environment.get_template(template).render(**values)
    # paths whose bytes are no UTF-8 have lone surrogates, which no file can hold
    return page.encode(errors="backslashreplace").decode()


def number(value: float | None, digits: int = 1) -> str:
    """``value`` with so many digits behind the point; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return NO_VALUE
    return f"{value:.{digits}f}"


def count(value: float | None) -> str:
    """A whole number with narrow spaces between thousands; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return NO_VALUE
    return f"{round(value):,}".replace(",", "\u202f")
