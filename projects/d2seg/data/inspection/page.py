"""The page on data sets that ``d2seg check --html`` writes (docs/own_data.md)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...names import printable
from ...reports import render
from ...reports.page import NO_VALUE
from ...reports.plots import LINE_COLORS
from .duplicates import Duplicates
from .measures import Inspected
from .page_pictures import DrawSample, Pictures, galleries_of, groups_of, mapped_of, problems_of
from .page_tables import class_tables, histograms, leaks_of, resolutions_of

TEMPLATES = Path(__file__).with_name("templates")


def make_page(
    inspected: Sequence[Inspected],
    duplicates: Duplicates,
    *,
    version: str,
    faults_of_config: Sequence[str] = (),
    draw_sample: DrawSample | None = None,
    trained_on: Sequence[str] = (),
) -> str:
    """
    Args:
        faults_of_config: in words
        draw_sample: (H, W, 3) uint8 RGB of what a config's mapper makes of an entry; raises
            ValueError where it makes nothing
        trained_on: names of the data sets that the config trains on

    Returns:
        The page, less than 5 MB.
    """
    pictures = Pictures()  # what matters most is drawn first
    problems = [problems_of(one, pictures) for one in inspected]
    groups = groups_of(inspected, duplicates, pictures)
    samples = []
    if draw_sample is not None:
        samples = [mapped_of(o, draw_sample, pictures) for o in inspected if o.name in trained_on]
    shown = [galleries_of(one, pictures) for one in inspected]
    return render(
        "dataset.html",
        TEMPLATES,
        version=version,
        names=[printable(one.name) for one in inspected],
        colors=[LINE_COLORS[i % len(LINE_COLORS)] for i in range(len(inspected))],
        cards=_cards(inspected, duplicates, faults_of_config),
        overview=[_overview(one) for one in inspected],
        notes=_notes(inspected, duplicates, faults_of_config),
        problems=problems,
        leaks=leaks_of(duplicates),
        groups=groups,
        num_groups=len(duplicates.groups),
        is_complete=duplicates.is_complete,
        tables=[table for one in inspected for table in class_tables(one)],
        histograms=histograms(inspected),
        resolutions=[resolutions_of(one) for one in inspected],
        galleries=shown,
        mapped=samples,
        has_config=draw_sample is not None,
        num_left_out=pictures.num_left_out,
    )


def _cards(
    inspected: Sequence[Inspected], duplicates: Duplicates, faults_of_config: Sequence[str]
) -> list[dict[str, Any]]:
    num_problems = sum(len(one.report.problems) + bool(one.error) for one in inspected)
    num_leaks = sum(len(leak.pairs) for leak in duplicates.leaks)
    return [
        {"name": "pictures", "value": sum(o.report.num_images for o in inspected), "note": ""},
        {
            "name": "problems",
            "value": num_problems + len(faults_of_config),
            "note": "all is well" if not num_problems + len(faults_of_config) else "see below",
        },
        {
            "name": "leaks between splits",
            "value": num_leaks,
            "note": "pictures in two splits" if num_leaks else "no picture is in two splits",
        },
        {
            "name": "groups of duplicates",
            "value": len(duplicates.groups),
            "note": "the same or nearly the same",
        },
    ]


def _overview(one: Inspected) -> list[Any]:
    report, measures = one.report, one.measures
    sizes = sorted(measures.resolutions, key=lambda size: size[0] * size[1])
    smallest, largest = (sizes[0], sizes[-1]) if sizes else (None, None)
    objects = [sum(c.instances.values()) for s, c in report.counts.items() if s != "semantic"]
    numbers = (
        report.num_images,
        len(report.problems),
        sum(objects) if objects else None,
        len(measures.blank),
    )
    cells = [{"text": NO_VALUE if n is None else str(n), "value": n} for n in numbers]
    return [printable(one.name), *cells, _size(smallest), _size(largest)]


def _size(size: tuple[int, int] | None) -> str:
    return NO_VALUE if size is None else f"{size[1]} x {size[0]}"


def _notes(
    inspected: Sequence[Inspected], duplicates: Duplicates, faults_of_config: Sequence[str]
) -> list[str]:
    """Sentences on the whole: what cannot be loaded, facts and hints."""
    notes = [*faults_of_config]
    for one in inspected:
        if one.error:
            notes.append(f"{one.name} cannot be loaded: {one.error}")
        notes += [f"{one.name}: {text}" for text in (*one.report.facts, *one.report.hints)]
        if one.measures.blank:
            files = ", ".join(one.measures.files[n] for n in one.measures.blank[:3])
            more = ", ..." if len(one.measures.blank) > 3 else ""
            notes.append(
                f"{one.name}: {len(one.measures.blank)} pictures of one grey value: {files}{more}"
            )
    if not duplicates.is_complete:
        notes.append(
            "so many pictures are alike that not all pairs were compared: there may be more "
            "duplicates"
        )
    return [printable(note) for note in notes]
