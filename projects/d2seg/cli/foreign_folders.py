"""Folders of other tools' annotations, looked at as data sets without a conversion."""

from dataclasses import dataclass, replace
from pathlib import Path

from detectron2.data import DatasetCatalog, Metadata, MetadataCatalog

from ..data.datasets.categories import instance_metadata, semantic_metadata
from ..data.faults import Faults
from ..data.foreign.content import Source
from ..data.foreign.reading import FORMATS, default_task, read_foreign, recognised
from ..data.foreign.writing import categories_of, dicts_of, ignore_label_of
from ..data.inspection.measures import Inspected, Measures
from ..data.inspection.report import Report

_EVALUATORS = {"instance": "coco", "semantic": "sem_seg"}


@dataclass(frozen=True)
class ForeignFolder:
    """
    Args:
        names: of the registered data sets, one for each split
        report: what cannot be used, and what is left out
    """

    title: str
    folder: Path
    names: list[str]
    report: Report

    @property
    def inspected(self) -> Inspected:
        """For a page; its pictures are those of the data sets."""
        report, measures = replace(self.report, num_images=0), Measures()
        measures.choose([], report)
        return Inspected(str(self.folder), Metadata(), report, measures)

    @property
    def remedy(self) -> str:
        return f"train with it after: d2seg convert-data {self.folder} OUT"


def register_folder(folder: Path, images: Path | None, temporary: Path) -> ForeignFolder:
    """Read a folder and register what can be used of it.

    Args:
        images: where the pictures are, if not in the folder
        temporary: an empty folder, for label maps

    Raises:
        ValueError: its format is not recognised, or nothing of it can be read.
    """
    form = recognised(folder)
    task = default_task(form, folder)
    faults = Faults("", is_collecting=True)
    source = Source(folder.absolute(), images and images.absolute(), task)
    content = read_foreign(form, source, faults)
    report = Report(len(content.pictures), problems=faults.problems, hints=content.remarks)
    categories = categories_of(content, task)
    metadata = (instance_metadata if task == "instance" else semantic_metadata)(categories)
    names = []
    for split in content.splits if content.classes else ():
        name = _new_name(f"{folder.absolute().name}_{split}")
        pictures = [picture for picture in content.pictures if picture.split == split]
        place = temporary / str(len(names))
        place.mkdir(parents=True)
        dicts = dicts_of(pictures, task, categories, place)
        DatasetCatalog.register(name, lambda dicts=dicts: dicts)
        MetadataCatalog.get(name).set(evaluator_type=_EVALUATORS[task], **metadata)
        if task == "semantic":
            MetadataCatalog.get(name).set(ignore_label=ignore_label_of(categories))
        names.append(name)
    return ForeignFolder(FORMATS[form].TITLE, folder, names, report)


def _new_name(name: str) -> str:
    number, found = 2, name
    while found in DatasetCatalog:
        found, number = f"{name}_{number}", number + 1
    return found
