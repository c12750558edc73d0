"""The project's configs and their published weights, in the shape of ``detectron2.model_zoo``.

    from d2seg import model_zoo

    model_zoo.list(method="mask2former", task="panoptic", dataset="coco")
    model = model_zoo.get("mask2former/coco_panoptic_resnet50")

A name is the path of a config without folder and ending; ".yaml" behind it does no harm.
"""

from .zoo import get, get_checkpoint_url, get_config, get_config_file, get_entry, list

__all__ = ["get", "get_checkpoint_url", "get_config", "get_config_file", "get_entry", "list"]
