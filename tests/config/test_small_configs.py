"""The small configs of one model differ in their task alone."""

import pytest

from d2seg.config.loading import load_config


@pytest.mark.parametrize("task", ["instance", "semantic"])
@pytest.mark.parametrize("method", ["maskformer", "mask2former"])
def test_the_tasks_are_tested_at_the_size_of_the_base(repo_dir, method: str, task: str) -> None:
    base, leaf = (
        load_config(str(repo_dir / f"configs/{method}/shapes_{name}_small.yaml"))
        for name in ("panoptic", task)
    )
    assert leaf.INPUT.MIN_SIZE_TEST == base.INPUT.MIN_SIZE_TEST
    assert (base.SOLVER.MAX_ITER, [task]) == (leaf.SOLVER.MAX_ITER, leaf.TEST.TASKS)
