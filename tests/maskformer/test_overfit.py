from families.overfit import ByHeartChecks


class TestByHeart(ByHeartChecks):
    config = "maskformer/shapes_panoptic_small.yaml"
    num_iterations = 250
    least_score = 80
