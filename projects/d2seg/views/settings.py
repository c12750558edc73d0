"""Numbers of tiles and of views, checked."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TileSettings:
    """See TEST.TILES: the side of a tile and what neighbours share, in pixels of the input."""

    size: int
    overlap: int

    def __post_init__(self) -> None:
        for key, value in (("SIZE", self.size), ("OVERLAP", self.overlap)):
            if not _is_whole(value) or value < 0:
                choice = ", or 'auto'" if key == "SIZE" else ""
                raise ValueError(f"TEST.TILES.{key} is {value!r}; it is a number of pixels{choice}")
        if not 0 <= self.overlap < self.size:
            raise ValueError(
                f"TEST.TILES.OVERLAP is {self.overlap} and SIZE {self.size}; neighbours share less "
                "than a whole tile: set OVERLAP below SIZE, to a quarter of it for instance"
            )

    def check_divisibility(self, divisibility: int) -> None:
        """Raises ValueError for tiles that are smaller than the model's coarsest stride."""
        if self.size < divisibility:
            raise ValueError(
                f"TEST.TILES.SIZE is {self.size}; this model takes tiles of {divisibility} pixels "
                "and more"
            )


@dataclass(frozen=True)
class ViewSettings:
    """See TEST.AUG, detectron2's keys."""

    min_sizes: tuple[int, ...]
    max_size: int
    flip: bool

    def __post_init__(self) -> None:
        sizes = list(self.min_sizes)
        if not sizes or any(not _is_whole(size) or size < 0 for size in sizes):
            raise ValueError(
                f"TEST.AUG.MIN_SIZES is {sizes}; it lists lengths of the shorter edge in pixels, "
                "0 for the picture's own"
            )
        if not _is_whole(self.max_size) or self.max_size < 1:
            raise ValueError(
                f"TEST.AUG.MAX_SIZE is {self.max_size!r}; it is a number of pixels, 1 or more"
            )


def check_memory(budget: object) -> None:
    """Raises ValueError where TEST.TILES.MEMORY is no number of MiB."""
    if not _is_whole(budget) or budget < 0:
        raise ValueError(f"TEST.TILES.MEMORY is {budget!r}; it is a number of MiB, 0 for no limit")


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
