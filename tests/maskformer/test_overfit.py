from families.overfit import OverfitChecks


class TestOverfit(OverfitChecks):
    config = "maskformer/shapes_panoptic_small.yaml"
    num_iterations = 70
    least_score = 80
