"""Guesses at the label convention of a data set from the values in its label maps."""

from collections import Counter


def value_hints(values: Counter, num_classes: int, ignore_label: int) -> list[str]:
    """Sentences on what the values look like, where they do not look like class ids.

    Args:
        values: pixels of each value, over all label maps
    """
    present = {value for value, pixels in values.items() if pixels and value != ignore_label}
    wrong = {value for value in present if not 0 <= value < num_classes}
    hints = []
    if not present:
        return ["every pixel has the ignore label"]
    if set(values) == {0, 255} and ignore_label == 255 and num_classes > 1:
        hints.append(
            "the values are 0 and 255, and 255 is the ignore label: if 255 marks an object, "
            "convert with tools/prepare_own_labels.py --map 255:1"
        )
    elif wrong == {num_classes} and 0 not in present:
        hints.append(
            f"the values are 1..{num_classes}, but classes are counted from 0: convert with "
            "tools/prepare_own_labels.py --reduce-zero-label"
        )
    elif wrong == {num_classes}:
        hints.append(
            f"the values are 0..{num_classes}, one more than there are classes: if 0 means "
            "unlabelled, convert with tools/prepare_own_labels.py --reduce-zero-label; if it is a "
            "class of its own, add its name to the classes"
        )
    elif wrong == {255}:
        hints.append(
            f"255 is among the values and {ignore_label} is the ignore label: if 255 means "
            "unlabelled, set ignore_label to 255"
        )
    elif len(wrong) > 3 and len(values) <= 2 * num_classes:
        hints.append(
            f"{len(values)} values up to {max(values)} for {num_classes} classes: the label maps "
            "may hold grey levels of a drawing; convert with tools/prepare_own_labels.py --map"
        )
    elif len(wrong) > 3:
        hints.append(
            f"{len(values)} different values for {num_classes} classes: the label maps may have "
            "been resized with interpolation or saved as JPEG on the way"
        )
    return hints
