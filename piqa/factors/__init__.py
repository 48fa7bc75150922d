"""What in a picture of a person makes its quality: measures that need no training, one file a family.

`measure_factors` measures an image. `families.FACTORS` lists all that is measured. What needs a network or more points
of the face than five is not here: whether the eyes are open, the pose of the head, what covers the face, expression.
A measure of such a kind would be a family of its own, with the points that it needs in `regions.Regions`.
"""
