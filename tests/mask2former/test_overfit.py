from families.overfit import OverfitChecks


class TestOverfit(OverfitChecks):
    config = "mask2former/shapes_panoptic_small.yaml"
    num_iterations = 60
    least_score = 85
