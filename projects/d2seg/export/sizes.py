"""The sizes of an exported file's input."""

from detectron2.config import CfgNode

Size = tuple[int, int]
_ASPECT = 4 / 3  # of most photographs


def default_size(cfg: CfgNode, divisibility: int) -> Size:
    """(H, W) of what the config's model sees at test time, in multiples of the divisibility.

    One size, where the config has one: of a referring picture, a slice, a window or a fixed input;
    else the short side that pictures are resized to, by four thirds of it.
    """
    size = _only_size(cfg)
    if size is None:
        short, longest = cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST
        size = (short, min(int(short * _ASPECT), longest))
    height, width = (-(-side // divisibility) * divisibility for side in size)
    return height, width


def _only_size(cfg: CfgNode) -> Size | None:
    node = cfg.INPUT
    if node.MAPPER == "referring":
        return tuple(node.REFERRING_SIZE)
    if node.MAPPER == "slice":
        return tuple(node.SLICE_SIZE)
    if node.AUGMENTATION == "fixed_size":
        return tuple(node.FIXED_SIZE)
    if cfg.MODEL.PER_PIXEL.TEST.MODE == "slide":
        return tuple(cfg.MODEL.PER_PIXEL.TEST.CROP_SIZE)
    return None


def check_size(size: Size, divisibility: int) -> None:
    """
    Raises:
        ValueError: no size of pictures, or none that the model takes.
    """
    if any(side < 1 or side % divisibility for side in size):
        height, width = (max(1, -(-side // divisibility)) * divisibility for side in size)
        raise ValueError(
            f"--size {size[0]} {size[1]}: this model takes multiples of {divisibility}, as "
            f"{height} {width}"
        )


def sizes_to_compare(size: Size, divisibility: int, is_dynamic: bool) -> list[Size]:
    """Those at which a file is compared: its own and, if it takes any, two of other proportions,
    since a size that became part of the graph shows at another one alone."""
    if not is_dynamic:
        return [size]
    height, width = (side // divisibility for side in size)
    others = [(height + 1, max(width - 1, 1)), (max(height // 2, 1), width + 2)]
    return [size, *((h * divisibility, w * divisibility) for h, w in others)]
