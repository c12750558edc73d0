"""What mask-classification methods share (Cheng et al. 2021, section 3): a set of N masks, each
with one class, matched to the ground truth by the Hungarian algorithm."""
