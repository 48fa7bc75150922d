import numpy as np
import pytest
import torch
from torchvision.transforms.functional import five_crop
from torchvision.transforms.functional import to_pil_image as as_image

from piqa.data.transforms import TrainingCrops, scoring_crops
from piqa.preparation.portrait import Portrait

SIZE = 16


def pixels(height, width, seed):
    """Red tells the row, green the column, blue is noise."""
    rows, columns = np.mgrid[:height, :width]
    noise = np.random.default_rng(seed).integers(0, 256, (height, width))
    return np.stack([rows, columns, noise], axis=2).astype(np.uint8)


def a_portrait():
    return Portrait(pixels(20, 25, 0), pixels(22, 18, 1), face_box=(0, 0, 9, 9), liqe_logits=None)


def corner(crop):
    """Top left corner (row, column) of a crop, mirrored or not."""
    return int(crop[0].min()), int(crop[1].min())


def mirrored(crop):
    return bool(crop[1, 0, 0] > crop[1, 0, -1])


def window(image, crop):
    row, column = corner(crop)
    return torch.from_numpy(image[row : row + SIZE, column : column + SIZE]).permute(2, 0, 1)


def draws(count, flip=False):
    crops, portrait = TrainingCrops(SIZE, flip), a_portrait()
    return [crops(portrait, seed) for seed in range(count)]


def test_training_crops_are_exact_windows_of_the_images():
    portrait = a_portrait()
    for whole, face in draws(20):
        assert whole.dtype == face.dtype == torch.uint8 and whole.shape == face.shape == (3, SIZE, SIZE)
        assert torch.equal(whole, window(portrait.whole, whole))
        assert torch.equal(face, window(portrait.face_crop, face))


def test_every_position_is_reached_and_none_preferred():
    positions = [corner(whole) for whole, _ in draws(3000)]
    counts = np.zeros((20 - SIZE + 1, 25 - SIZE + 1))
    np.add.at(counts, tuple(np.transpose(positions)), 1)
    assert counts.min() > 0.5 * counts.mean() and counts.max() < 1.5 * counts.mean()


def test_whole_and_face_are_cropped_independently():
    positions = np.array([(*corner(whole), *corner(face)) for whole, face in draws(2000)])
    between = np.corrcoef(positions.T)[:2, 2:]
    assert np.abs(between).max() < 0.1


def test_a_draw_depends_on_its_seed_alone():
    crops, portrait = TrainingCrops(SIZE, flip=True), a_portrait()
    first = {seed: crops(portrait, seed) for seed in (5, 6, 7)}
    for seed in (7, 5, 6):
        again = TrainingCrops(SIZE, flip=True)(portrait, seed)
        assert all(torch.equal(one, other) for one, other in zip(first[seed], again, strict=True))


def test_nothing_is_mirrored_unless_asked_for():
    assert not any(mirrored(crop) for pair in draws(100) for crop in pair)


def test_half_of_the_portraits_are_mirrored_whole_and_face_alike():
    flips = [(mirrored(whole), mirrored(face)) for whole, face in draws(1000, flip=True)]
    assert all(whole == face for whole, face in flips)
    assert 430 < sum(whole for whole, _ in flips) < 570


def test_a_mirrored_crop_is_an_exact_window_mirrored():
    portrait = a_portrait()
    crops = [whole for whole, _ in draws(30, flip=True) if mirrored(whole)]
    assert crops
    for crop in crops:
        assert torch.equal(crop.flip(2), window(portrait.whole, crop))


def test_mirrored_portraits_are_cropped_at_the_same_places():
    crops = [whole for whole, _ in draws(2000, flip=True)]
    flips = [mirrored(crop) for crop in crops]
    for position in np.transpose([corner(crop) for crop in crops]):
        assert abs(np.corrcoef(flips, position)[0, 1]) < 0.1


@pytest.mark.parametrize(("height", "width"), [(21, 33), (33, 20), (16, 17), (16, 16)])
def test_five_scoring_crops_are_torchvisions_in_its_order(height, width):
    image = pixels(height, width, 2)
    crops = scoring_crops(image, SIZE, "five")
    expected = [np.asarray(crop) for crop in five_crop(as_image(image), SIZE)]
    assert crops.dtype == torch.uint8
    np.testing.assert_array_equal(crops.permute(0, 2, 3, 1), expected)


def test_five_scoring_crops_are_the_corners_and_the_centre():
    crops = scoring_crops(pixels(20, 24, 0), SIZE, "five")
    assert [corner(crop) for crop in crops] == [(0, 0), (0, 8), (4, 0), (4, 8), (2, 4)]


def test_one_scoring_crop_is_the_centre_of_the_five():
    image = pixels(21, 33, 2)
    one, five = scoring_crops(image, SIZE, "one"), scoring_crops(image, SIZE, "five")
    assert torch.equal(one, five[4:])
