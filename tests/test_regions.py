import numpy as np
import pytest

from piqa.factors.regions import SURROUNDINGS, Regions, Square

# eyes 40 px apart and level, mouth 50 px below them
POINTS = ((80.0, 100.0), (120.0, 100.0), (100.0, 125.0), (85.0, 150.0), (115.0, 150.0))
FACE = Regions(200, 300, (60.0, 60.0, 140.0, 180.0), POINTS)


def test_eyes_and_nose_are_squares_of_0_7_eye_distances():
    assert FACE.eye_distance == 40 and FACE.eyes_middle == (100, 100)
    assert FACE.eyes == (Square(66, 86, 94, 114), Square(106, 86, 134, 114))
    assert FACE.nose == Square(86, 111, 114, 139)


def test_cheeks_begin_half_way_from_the_eyes_to_the_mouth_and_lie_outside_of_the_eyes():
    assert FACE.cheeks == (Square(68, 125, 80, 137), Square(120, 125, 132, 137))


def test_cheeks_follow_each_eye_of_a_tilted_head():
    tilted = Regions(200, 300, FACE.face_box, ((80.0, 90.0), (120.0, 110.0), *POINTS[2:]))
    left, right = tilted.cheeks
    assert (left.top, right.top) == (115, 135)


def test_the_ellipse_has_the_area_of_its_semi_axes_in_a_copy_of_any_size():
    for height, width in ((300, 200), (150, 100), (600, 400)):
        scale = width / 200
        expected = np.pi * (0.42 * 80 * scale) * (0.48 * 120 * scale)
        assert FACE.ellipse(height, width).sum() == pytest.approx(expected, rel=0.01)


def test_face_and_surroundings_do_not_meet():
    face, around = FACE.ellipse(300, 200), FACE.surroundings(300, 200)
    assert not (face & around).any()
    assert np.array_equal(around, ~FACE.ellipse(300, 200, SURROUNDINGS))


def test_tiles_are_as_large_as_eyes_and_lie_off_the_face():
    large = Regions(2000, 3000, tuple(10 * edge for edge in FACE.face_box), tuple((10 * x, 10 * y) for x, y in POINTS))
    around = large.surroundings(3000, 2000)
    assert len(large.tiles) == 12 and len(set(large.tiles)) == 12
    for tile in large.tiles:
        assert tile.right - tile.left == tile.bottom - tile.top == 280
        assert around[tile.slices].all()


def test_without_a_face_tiles_are_spread_over_the_whole_image():
    regions = Regions(800, 400)
    assert regions.eyes is None and regions.cheeks is None and regions.ellipse(400, 800) is None
    assert len(regions.tiles) == 12
    assert min(tile.left for tile in regions.tiles) == 0 and max(tile.right for tile in regions.tiles) == 800


def test_a_face_that_fills_the_image_leaves_no_tiles():
    assert Regions(100, 100, (-50.0, -50.0, 150.0, 150.0), POINTS).tiles == []


def test_regions_beyond_the_border_are_cut():
    cut = Regions(90, 120, FACE.face_box, POINTS)
    assert cut.face == Square(60, 60, 90, 120)
    left, right = cut.eyes
    assert left == Square(66, 86, 90, 114) and right.pixels == 0


def test_the_smallest_images_have_regions():
    for size in ((1, 1), (8, 8), (1, 100)):
        assert all(0 < tile.pixels <= size[0] * size[1] for tile in Regions(*size).tiles)
