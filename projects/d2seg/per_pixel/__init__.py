"""What the per-pixel methods share: segmentor, losses, whole-image and sliding-window inference."""
