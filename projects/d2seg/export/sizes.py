"""The sizes of an exported file's input."""

from detectron2.config import CfgNode

Size = tuple[int, int]
STOCK_DIVISIBILITY = 32  # of detectron2's own models, whose backbone may ask for none
_ASPECT = 4 / 3  # of most photographs
# of the divisibility: each side of the coarsest map, at twice this stride, is then more than 1,
# which torch would take for a constant
_LEAST_STEPS = 3


def default_size(cfg: CfgNode, divisibility: int, is_dynamic: bool = False) -> Size:
    """(H, W) of what the config's model sees at test time, in multiples of the divisibility.

    One size, where the config has one: of a referring picture, a slice, a window or a fixed input;
    else the short side that pictures are resized to, by four thirds of it. A file for any size is
    recorded at one that is large enough for that.
    """
    size = _only_size(cfg)
    if size is None:
        short, longest = cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST
        size = (short, min(int(short * _ASPECT), longest))
    least = _LEAST_STEPS if is_dynamic else 1
    height, width = (max(-(-side // divisibility), least) * divisibility for side in size)
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


def check_size(size: Size, divisibility: int, is_dynamic: bool = False) -> None:
    """
    Raises:
        ValueError: no size of pictures, or none that the model takes; a file that takes any is
            recorded at a larger one.
    """
    least = _LEAST_STEPS * divisibility
    if is_dynamic and min(size) < least:
        raise ValueError(
            f"a file for any size cannot be recorded at {size[0]} x {size[1]}; take at least "
            f"{least} x {least}"
        )
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
    shorter = max(-(-3 * height // 4), _LEAST_STEPS)
    others = [(height + 1, max(width - 1, _LEAST_STEPS)), (shorter, width + 2)]
    return [size, *((h * divisibility, w * divisibility) for h, w in others)]
