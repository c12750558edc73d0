"""detectron2's checkpointer, for checkpoints of any known layout and files that may be damaged."""

import os
import re
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import torch
from detectron2.checkpoint import DetectionCheckpointer
from torch import nn

from .channels import fit_channels, standardised_weights
from .compatibility import LoadResult, check
from .contents import ContentError, check_values
from .conversion import place_backbone, to_d2seg, without_prefix
from .download import split_options
from .files import (
    CheckpointFileError,
    WriteError,
    clear_remains,
    find_file,
    read_checkpoint,
    write_atomically,
)
from .naming import StateDict
from .positions import fit_positions, position_grids

_NUMBERED = re.compile(r"model_([0-9]{1,12})\.pth$")
WEIGHTS_ALONE = ("model_best.pth", "model_final_ema.pth")  # to use, not to resume from
NO_WEIGHTS = (
    "MODEL.WEIGHTS is empty, so the model would compute with random weights; set it to a "
    "checkpoint, for example OUTPUT_DIR/model_final.pth"
)


def checkpoints_in(folder: str | Path, last: str = "") -> list[str]:
    """The checkpoints in ``folder``, the newest first; of those of one time, ``last`` first.

    A clock may have been turned back: ``last`` is the newest where no other has a higher number.
    Links that lead nowhere, folders and the best and averaged weights do not count.
    """
    times = {}
    for path in Path(folder).glob("model_*.pth"):
        try:
            if path.is_file() and path.name not in WEIGHTS_ALONE:
                times[str(path)] = path.stat().st_mtime_ns
        except OSError:  # gone meanwhile
            continue
    numbers = {path: int(match[1]) for path in times if (match := _NUMBERED.search(path))}
    first = last if numbers.get(last, -1) == max(numbers.values(), default=None) else ""
    return sorted(
        times, key=lambda path: (path == first, times[path], path == last, path), reverse=True
    )


class Checkpointer(DetectionCheckpointer):
    """Loads d2seg's own, detectron2's and foreign checkpoints; saves so that nothing is lost.

    Foreign layouts are recognised by their parameter names, see ``layouts``. Nothing that a file
    contains is run. A checkpoint is written beside its place and moved there when it is complete;
    resuming falls back to the newest checkpoint that can be read.
    """

    _require_complete = _is_resumed = False
    _source = _options = ""  # of the checkpoint that was loaded last
    _content: dict[str, Any] | None = None

    def __init__(
        self,
        model: nn.Module,
        save_dir: str = "",
        *,
        entries: dict[str, Any] | None = None,
        new_channels: str = "mean",
        **arguments: Any,
    ) -> None:
        """
        Args:
            model: to load into and to save.
            save_dir: where :meth:`save` writes, and :meth:`resume_or_load` looks for checkpoints.
            entries: plain data that every checkpoint holds beside the model.
            new_channels: "mean" or "zero": what pretrained weights of fewer channels than the
                model's pictures have are given for the others, see ``channels.fit_channels``.
            arguments: ``save_to_disk`` and checkpointables, as those of detectron2's.
        """
        super().__init__(model, save_dir, **arguments)
        self._entries = dict(entries or {})
        self._new_channels = new_channels

    def load(
        self,
        path: str,
        checkpointables: list[str] | None = None,
        *,
        require_complete: bool = False,
        content: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Load weights, and what else the checkpoint holds, into the model.

        Args:
            path: a file, a folder of transformers, or a URL that detectron2 resolves; may be empty
                where the model may keep its initial weights.
            checkpointables: what to load besides the model; ``None`` for all that is there.
            require_complete: every tensor of the model must be given, as for an evaluation.
            content: what ``read_checkpoint`` gave for ``path``, where it was read before.

        Returns:
            What is left of the checkpoint.

        Raises:
            ValueError: the file is missing, damaged or unsafe; it is of another architecture; or
                the model would keep random weights in spite of ``require_complete``.
        """
        if not path:
            if require_complete:
                raise ValueError(NO_WEIGHTS)
            return super().load(path)
        address, self._options = split_options(path)
        local = find_file(address)
        self._require_complete, self._source, self._content = require_complete, path, content
        try:
            # fvcore's: detectron2's own would read a local name such as "Exp:12/a?.pth" as a URL
            return super(DetectionCheckpointer, self).load(local, checkpointables)
        finally:
            self._content = None

    def resume_or_load(
        self, path: str, *, resume: bool = True, require_complete: bool = False
    ) -> dict[str, Any]:
        """Resume from the newest readable checkpoint of ``save_dir`` if there is one and ``resume``
        is set, else load the model alone from ``path``.

        Raises:
            ValueError: as :meth:`load`; or there are checkpoints, but none can be read.
        """
        if resume and self.has_checkpoint():
            return self._resume()
        return self.load(path, checkpointables=[], require_complete=require_complete)

    def has_checkpoint(self) -> bool:
        """Whether there is one to resume from: the files count, not the tag that names the last."""
        return bool(self.save_dir) and bool(checkpoints_in(self.save_dir))

    def get_checkpoint_file(self) -> str:
        """The file that the tag names; "" where it names none of this folder."""
        tag = Path(self.save_dir, "last_checkpoint")
        try:
            if not tag.is_file():  # a pipe would be waited for
                return ""
            with tag.open(encoding="utf-8") as file:
                name = file.read(1000).strip()
        except (OSError, UnicodeDecodeError):
            return ""
        is_name = name.isprintable() and 0 < len(name) <= 255 and Path(name).name == name
        return os.path.join(self.save_dir, name) if is_name else ""

    def _resume(self) -> dict[str, Any]:
        """From the newest of the folder's files that is whole and holds all of a run's state."""
        last = self.get_checkpoint_file()
        if not os.path.isfile(last):
            self.logger.warning(
                "Cannot resume from this checkpoint: last_checkpoint in %s %s; the newest one "
                "there counts",
                self.save_dir,
                f"names {last}, which is missing" if last else "is missing or names no file",
            )
        candidates = checkpoints_in(self.save_dir, last)
        for path in candidates:
            try:
                content = read_checkpoint(path)
                missing = self.checkpointables.keys() - content.keys()
                if missing:
                    raise CheckpointFileError(
                        f"{path} holds weights alone, no state of a training ({', '.join(missing)})"
                    )
                self._is_resumed = True
                return self.load(path, require_complete=True, content=content)
            except CheckpointFileError as error:
                self.logger.warning("Cannot resume from this checkpoint: %s", error)
            finally:
                self._is_resumed = False
        raise ValueError(
            f"none of the {len(candidates)} checkpoints in {self.save_dir} can be resumed from; "
            "train anew without --resume, into another OUTPUT_DIR (MODEL.WEIGHTS takes weights)"
        )

    def save(self, name: str, **kwargs: Any) -> None:
        """Write the model, the checkpointables and ``kwargs`` to ``save_dir/name.pth``.

        Raises:
            OSError: it could not be written, for example for want of space; earlier checkpoints
                are untouched.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        clear_remains(self.save_dir)
        data = {"model": self.model.state_dict()}
        data |= {
            key: checkpointable.state_dict() for key, checkpointable in self.checkpointables.items()
        }
        data |= self._entries | kwargs
        file_name = f"{name}.pth"
        path = os.path.join(self.save_dir, file_name)
        self.logger.info("Saving checkpoint to %s", path)
        try:
            write_atomically(path, partial(torch.save, data))
        except OSError as error:
            raise WriteError(
                f"{error}. Earlier checkpoints are intact; make room and continue with --resume"
            ) from error
        self.tag_last_checkpoint(file_name)

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Name the file from which to resume."""
        write_atomically(
            os.path.join(self.save_dir, "last_checkpoint"),
            lambda path: Path(path).write_text(last_filename_basename),
        )

    def _load_file(self, filename: str) -> dict[str, Any]:
        checkpoint = read_checkpoint(filename) if self._content is None else dict(self._content)
        queries = parse_qs(self._options)
        if queries.pop("matching_heuristics", ["False"]) == ["True"]:
            checkpoint["matching_heuristics"] = True
        if queries:
            raise ValueError(f"{self._source}: detectron2 knows no such options as {list(queries)}")
        names = self.model.state_dict().keys()
        original, prefix = without_prefix(checkpoint["model"], names)
        if prefix:
            self.logger.info("All of its names begin with '%s', which is stripped", prefix)
        checkpoint["model"], layout = to_d2seg(original)
        if layout is not None:
            self.logger.info("Its %d tensors are those of %s", len(original), layout.name)
            checkpoint["matching_heuristics"] = False
        if not checkpoint.get("matching_heuristics") and (layout is None or layout.backbone_only):
            checkpoint["model"] = place_backbone(checkpoint["model"], original, names)
        self._fit_channels(checkpoint["model"], bool(checkpoint.get("matching_heuristics")))
        self._fit_modules(checkpoint["model"])
        fit_positions(checkpoint["model"], self.model.state_dict(), position_grids(self.model))
        return checkpoint

    def _fit_channels(self, state: StateDict, by_ends: bool) -> None:
        mean = getattr(self.model, "pixel_mean", None)
        if mean is not None:
            fit_channels(
                state,
                self.model.state_dict(),
                mean.numel(),
                self._new_channels,
                source=self._source,
                require_complete=self._require_complete,
                by_ends=by_ends,
                standardised=standardised_weights(self.model),
            )

    def _fit_modules(self, state: StateDict) -> None:
        """Modules that depend on the checkpoint, as a table of its words, say so by a method
        ``fit_to_checkpoint(state, prefix, require_complete)``, which changes the module or the
        state, or raises ``ValueError``."""
        for name, module in self.model.named_modules():
            fit = getattr(module, "fit_to_checkpoint", None)
            if fit is not None:
                fit(state, f"{name}." if name else "", self._require_complete)

    def _check_values(self, state: StateDict) -> None:
        try:
            check_values(state, self.model, is_own=self._is_resumed)
        except ContentError as error:
            raise CheckpointFileError(f"{self._source}{error}") from error

    def _load_model(self, checkpoint: dict[str, Any]) -> Any:
        self._check_values(checkpoint["model"])
        incompatible = super()._load_model(checkpoint)
        result = LoadResult.of(self.model, *incompatible)
        check(result, self._source, self._require_complete)
        # fvcore logs what is returned; what `check` has logged is left out
        announced = result.class_mismatch.names if result.class_mismatch else []
        untouched = tuple(f"{part}." for part in result.untouched_parts)
        return incompatible._replace(
            missing_keys=[name for name in result.missing if not name.startswith(untouched)],
            unexpected_keys=result.unexpected,
            incorrect_shapes=[m for m in result.mismatched if m[0] not in announced],
        )

    @property
    def source(self) -> str:
        """What was loaded last; empty: nothing."""
        return self._source
