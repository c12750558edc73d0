"""What a config's model is asked for."""

import pytest

from d2seg.config.loading import load_config
from d2seg.config.tasks import check_expressions, choose_task, tasks_of


def test_tasks_come_from_the_config_where_it_says_them():
    cfg = load_config(None, ["MODEL.META_ARCHITECTURE", "MaskFormer", "TEST.TASKS", "['semantic']"])
    assert tasks_of(cfg) == ("semantic",)
    cfg.TEST.TASKS = ["instance", "panoptic"]
    assert tasks_of(cfg) == ("instance", "panoptic")


@pytest.mark.parametrize(
    ("architecture", "tasks", "parts"),
    [
        ("MaskFormer", "[]", ["TEST.TASKS", "MaskFormer", "panoptic"]),
        ("MaskFormer", "['sematic']", ["'sematic'", "semantic"]),
        ("GeneralizedRCNN", "['panoptic']", ["'panoptic'", "GeneralizedRCNN", "['instance']"]),
    ],
)
def test_tasks_that_cannot_be(architecture, tasks, parts):
    cfg = load_config(None, ["MODEL.META_ARCHITECTURE", architecture, "TEST.TASKS", tasks])
    with pytest.raises(ValueError, match=r"TEST\.TASKS") as caught:
        tasks_of(cfg)
    assert all(part in str(caught.value) for part in parts)


def test_panoptic_fpn_without_combination_offers_its_parts():
    cfg = load_config("COCO-PanopticSegmentation/panoptic_fpn_R_50_1x.yaml")
    cfg.MODEL.PANOPTIC_FPN.COMBINE.ENABLED = False
    assert tasks_of(cfg) == ("semantic", "instance")
    cfg.MODEL.PANOPTIC_FPN.COMBINE.ENABLED = True
    cfg.TEST.TASKS = ["panoptic"]
    assert tasks_of(cfg) == ("panoptic",)


def test_the_task_is_chosen_among_those_offered():
    cfg = load_config("COCO-PanopticSegmentation/panoptic_fpn_R_50_3x.yaml")
    assert choose_task(cfg, None) == "panoptic"
    assert choose_task(cfg, "semantic") == "semantic"
    cfg.TEST.TASKS = ["instance", "semantic"]
    assert choose_task(cfg, None) == "semantic"
    with pytest.raises(ValueError, match="offers instance, semantic, not panoptic"):
        choose_task(cfg, "panoptic")


@pytest.mark.parametrize(
    ("task", "expressions", "message"),
    [
        ("referring", [], "needs an expression .*--expression"),
        ("referring", ["a dog", " \t"], r"the expression ' \\t' is empty"),
        ("referring", "a dog", "the string 'a dog'; give a list"),
        ("panoptic", ["a dog"], "'a dog' is for the task referring; the task panoptic takes none"),
    ],
)
def test_expressions_that_cannot_be(task, expressions, message):
    with pytest.raises(ValueError, match=message) as caught:
        check_expressions(task, expressions)
    assert "\n" not in str(caught.value)
    check_expressions("referring", ["a dog"])
    check_expressions("panoptic", [])
