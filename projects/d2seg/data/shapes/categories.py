"""The categories of the data set "shapes".

Ids in files ("dataset ids") differ from the contiguous ids of a model on purpose, so that a wrong
mapping shows.
"""

from ..datasets.categories import Category

# Things first: the place in this tuple is the contiguous id.
CATEGORIES = [
    Category(1, "circle", True, (220, 40, 60)),
    Category(2, "square", True, (0, 82, 204)),
    Category(3, "triangle", True, (250, 170, 30)),
    Category(4, "star", True, (255, 236, 80)),
    Category(5, "ring", True, (150, 70, 190)),
    Category(6, "cross", True, (0, 150, 136)),
    Category(7, "heart", True, (245, 110, 170)),
    Category(8, "moon", True, (160, 235, 250)),
    Category(11, "sky", False, (110, 170, 225)),
    Category(12, "grass", False, (96, 160, 64)),
    Category(13, "water", False, (30, 90, 140)),
    Category(14, "sand", False, (222, 196, 140)),
    Category(15, "brick", False, (150, 84, 66)),
]
THINGS = [c for c in CATEGORIES if c.is_thing]
STUFF = [c for c in CATEGORIES if not c.is_thing]
CONTIGUOUS_ID = {c.name: i for i, c in enumerate(CATEGORIES)}
