"""One picture seen several times: in tiles (TEST.TILES), resized and mirrored (TEST.AUG)."""
