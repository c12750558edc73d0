from families.overfit import OverfitChecks


class TestOverfit(OverfitChecks):
    config = "maskformer/shapes_panoptic_small.yaml"
    num_iterations = 250
    least_score = 80
