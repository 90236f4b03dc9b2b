import itertools
import re

import numpy as np
import pytest
from PIL import Image

from lic_jax.errors import LicError
from lic_jax.io.images import image_paths
from lic_jax.training.data import (
    PhotographFolder,
    RandomCrop,
    crop_batches,
    fixed_crops,
    load_folder,
    load_photographs,
    split_held_out,
)

CROP, BATCH = 24, 4


def random_image(seed, height=40, width=56):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Photographs of all kinds, good ones and bad ones; files that are none; a folder whose name looks like one."""
    Image.fromarray(random_image(0)).save(tmp_path / "colour.png")
    Image.fromarray(random_image(1)).save(tmp_path / "COMPRESSED.JPG", quality=95)
    Image.fromarray(random_image(2)[..., 0]).save(tmp_path / "grey.png")
    Image.fromarray(random_image(3)).quantize(16).save(tmp_path / "palette.png")
    Image.fromarray(random_image(4)).convert("RGBA").save(tmp_path / "alpha.webp", lossless=True)
    Image.fromarray(random_image(5)).save(tmp_path / "whole.ppm")
    Image.fromarray(random_image(6, 40, 23)).save(tmp_path / "narrow.png")
    Image.fromarray(random_image(7, 23, 40)).save(tmp_path / "low.bmp")
    (tmp_path / "truncated.png").write_bytes((tmp_path / "colour.png").read_bytes()[:2000])
    (tmp_path / "empty.tif").touch()
    (tmp_path / "text.jpeg").write_text("not an image")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "notes.txt").write_text("not looked at")
    return tmp_path


GOOD = {"COMPRESSED.JPG", "alpha.webp", "colour.png", "grey.png", "palette.png", "whole.ppm"}
SMALL = {"narrow.png": "23×40", "low.bmp": "40×23"}
BROKEN = {"truncated.png", "empty.tif", "text.jpeg", "folder.png"}


@pytest.fixture
def photographs():
    """Five photographs without files, of unequal sizes, in which every pixel is one of a kind nearly always."""
    images = tuple(random_image(10 + index, 60 + 7 * index, 80 - 5 * index) for index in range(5))
    return PhotographFolder(tuple("abcde"), images, ())


def test_image_files_are_found_by_suffix_in_the_order_of_their_names(folder):
    assert [path.name for path in image_paths(folder)] == sorted(GOOD | SMALL.keys() | BROKEN)


def test_what_can_be_used_is_rgb_and_what_cannot_is_named_with_the_reason(folder):
    loaded = load_photographs(image_paths(folder), smallest_side=CROP)
    assert loaded.names == tuple(sorted(GOOD))
    assert len(loaded) == len(GOOD)
    for image in loaded.photographs:
        assert image.dtype == np.uint8
        assert image.shape == (40, 56, 3)
    reasons = dict(loaded.skipped)
    assert reasons.keys() == SMALL.keys() | BROKEN
    for name, size in SMALL.items():
        assert reasons[name] == f"{size} is smaller than {CROP} pixels"
    assert all("read" in reasons[name] and name in reasons[name] for name in BROKEN)


def test_pixels_are_those_of_the_file(folder):
    loaded = load_photographs(image_paths(folder), smallest_side=CROP)
    image = dict(zip(loaded.names, loaded.photographs, strict=True))
    np.testing.assert_array_equal(image["colour.png"], random_image(0))
    np.testing.assert_array_equal(image["whole.ppm"], random_image(5))
    np.testing.assert_array_equal(image["alpha.webp"], random_image(4))
    np.testing.assert_array_equal(image["grey.png"], np.repeat(random_image(2)[..., :1], 3, axis=2))
    with Image.open(folder / "palette.png") as file:
        colours = np.array(file.getpalette()).reshape(-1, 3)
        np.testing.assert_array_equal(image["palette.png"], colours[np.asarray(file)])


def test_an_image_of_the_smallest_side_is_large_enough(tmp_path):
    Image.fromarray(random_image(0, CROP, CROP)).save(tmp_path / "exact.png")
    assert len(load_photographs(image_paths(tmp_path), CROP)) == 1


def test_a_folder_without_anything_usable_is_one_clear_error(folder, tmp_path_factory):
    with pytest.raises(LicError, match="is not a folder"):
        image_paths(folder / "absent")
    with pytest.raises(LicError, match="is not a folder"):
        image_paths(folder / "colour.png")
    with pytest.raises(LicError, match=r"holds no image files.*png"):
        image_paths(tmp_path_factory.mktemp("empty"))
    with pytest.raises(LicError, match=r"none of the 2 images can be used \(narrow.png: 23×40 is smaller"):
        load_photographs([folder / "narrow.png", folder / "text.jpeg"], CROP)


def test_no_paths_at_all_are_one_clear_error():
    """As a held-out part of a small folder may be."""
    with pytest.raises(LicError):
        load_photographs([], CROP)


def test_a_16_bit_photograph_keeps_its_shades_or_is_left_out_by_name(tmp_path):
    ramp = np.linspace(0, 65535, CROP * CROP).reshape(CROP, CROP).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    Image.fromarray(random_image(0)).save(tmp_path / "good.png")
    loaded = load_photographs(image_paths(tmp_path), CROP)
    if "deep.png" not in dict(loaded.skipped):
        np.testing.assert_allclose(loaded.photographs[0][..., 0], ramp / 257, atol=1)


def test_a_split_is_of_the_right_size_and_loses_nothing(tmp_path):
    paths = [tmp_path / f"photograph_{index}.png" for index in range(1000)]
    training, held_out = split_held_out(paths, 0.2)
    assert sorted(training + held_out) == sorted(paths)
    assert 150 < len(held_out) < 250
    assert split_held_out(paths, 0.0) == (paths, [])
    assert split_held_out(paths, 1.0) == ([], paths)


def test_files_that_are_added_move_none_of_the_others(tmp_path):
    """Nor does another folder, another order or a larger fraction take a file out of the held-out ones."""
    paths = [tmp_path / f"{index}.jpg" for index in range(200)]
    training, held_out = split_held_out(paths[:100], 0.1)
    for more in (paths, paths[::-1], [path.parent / "elsewhere" / path.name for path in paths]):
        later_training, later_held_out = split_held_out(more, 0.1)
        assert {path.name for path in training} <= {path.name for path in later_training}
        assert {path.name for path in held_out} <= {path.name for path in later_held_out}
    assert set(held_out) <= set(split_held_out(paths, 0.3)[1])
    assert held_out


def take(batches, count):
    return list(itertools.islice(batches, count))


def test_batches_have_the_shape_of_the_crops(photographs):
    for batch in take(crop_batches(photographs, CROP, BATCH, seed=0), 5):
        assert batch.shape == (BATCH, CROP, CROP, 3)
        assert batch.dtype == np.uint8


@pytest.mark.parametrize("size", [1, 2, 5])
def test_the_size_of_a_batch_decides_nothing_but_the_grouping_of_crops(photographs, size):
    together = take(crop_batches(photographs, CROP, 10, seed=1), 1)[0]
    np.testing.assert_array_equal(
        np.concatenate(take(crop_batches(photographs, CROP, size, seed=1), 10 // size)), together
    )


def test_batches_are_a_function_of_the_seed(photographs):
    first = np.stack(take(crop_batches(photographs, CROP, BATCH, seed=1), 8))
    np.testing.assert_array_equal(first, take(crop_batches(photographs, CROP, BATCH, seed=1), 8))
    other = np.stack(take(crop_batches(photographs, CROP, BATCH, seed=2), 8))
    assert not any(np.array_equal(a, b) for a, b in zip(first.reshape(-1, CROP), other.reshape(-1, CROP), strict=True))


@pytest.mark.parametrize("start", [1, 2, 7, 30])
def test_a_training_that_resumes_sees_what_it_would_have_seen(photographs, start):
    """… bit for bit, also in the middle of a round through the photographs and many rounds later."""
    uninterrupted = take(crop_batches(photographs, CROP, BATCH, seed=1), start + 3)
    resumed = take(crop_batches(photographs, CROP, BATCH, seed=1, start=start), 3)
    np.testing.assert_array_equal(resumed, uninterrupted[start:])


def test_every_photograph_is_seen_once_a_round_and_never_cropped_the_same_way(photographs):
    """Five photographs, batches of five: every batch is a round. A photograph is told by its constant colour."""
    images = tuple(np.full((60, 70, 3), 50 * index, np.uint8) for index in range(5))
    rounds = take(crop_batches(PhotographFolder(tuple("abcde"), images, ()), CROP, 5, seed=0), 20)
    orders = [tuple(batch[:, 0, 0, 0] // 50) for batch in rounds]
    assert all(sorted(order) == [0, 1, 2, 3, 4] for order in orders)
    assert len(set(orders)) > 10
    crops = np.concatenate(take(crop_batches(photographs, CROP, 5, seed=0), 20))
    assert len({crop.tobytes() for crop in crops}) == 100


def test_a_crop_at_full_scale_is_a_part_of_the_photograph_or_of_its_mirror_image():
    photograph = random_image(0)
    parts = {
        view[top : top + CROP, left : left + CROP].tobytes(): mirrored
        for mirrored, view in enumerate((photograph, photograph[:, ::-1]))
        for top in range(40 - CROP + 1)
        for left in range(56 - CROP + 1)
    }
    rng = np.random.default_rng(0)
    mirrored = [parts[RandomCrop(CROP, min_scale=1.0).random_map(photograph, rng).tobytes()] for _ in range(200)]
    assert 60 < sum(mirrored) < 140


def test_scales_go_down_to_the_smallest_and_every_crop_has_its_size():
    """On a ramp of one grey level a pixel, a crop's range of levels tells how many pixels it was made from."""
    ramp = np.repeat(np.repeat(np.arange(200, dtype=np.uint8)[None, :, None], 200, axis=0), 3, axis=2)
    rng = np.random.default_rng(0)
    crops = [RandomCrop(CROP, min_scale=0.25).random_map(ramp, rng) for _ in range(300)]
    assert {crop.shape for crop in crops} == {(CROP, CROP, 3)}
    sides = np.array([np.ptp(crop.astype(int)) for crop in crops]) + 1
    assert sides.min() >= CROP
    assert sides.max() <= 4 * CROP
    assert sides.max() > 3.6 * CROP
    quarters = np.histogram(np.log(sides / CROP) / np.log(4), 4, (0, 1))[0]
    assert np.all(quarters > 40)  # log-uniform would have 75 in each


@pytest.mark.parametrize(("height", "width"), [(CROP, CROP), (CROP, 100), (CROP + 1, 3 * CROP)])
def test_small_photographs_are_cropped_as_far_as_they_go(height, width):
    rng = np.random.default_rng(0)
    for _ in range(50):
        assert RandomCrop(CROP).random_map(random_image(0, height, width), rng).shape == (CROP, CROP, 3)


def test_fixed_crops_are_fixed_parts_of_the_photographs_in_turn(photographs):
    crops = fixed_crops(photographs, CROP, 12, seed=0)
    assert crops.shape == (12, CROP, CROP, 3)
    assert crops.dtype == np.uint8
    np.testing.assert_array_equal(crops, fixed_crops(photographs, CROP, 12, seed=0))
    np.testing.assert_array_equal(crops[:5], fixed_crops(photographs, CROP, 5, seed=0))
    assert not np.array_equal(crops, fixed_crops(photographs, CROP, 12, seed=1))
    for index, crop in enumerate(crops):
        assert re.search(re.escape(crop[0].tobytes()), photographs[index % 5].tobytes())


def test_the_training_photographs_can_all_be_used(train_photographs):
    """A tenth of them, for time."""
    paths = image_paths(train_photographs)[::10]
    loaded = load_photographs(paths, smallest_side=128)
    assert len(loaded) == len(paths)
    assert not loaded.skipped


def test_no_test_photograph_is_among_the_training_photographs(kodak, train_photographs):
    """By name and by content."""
    names = [{path.stem for path in image_paths(folder)} for folder in (kodak, train_photographs)]
    contents = [{path.read_bytes() for path in image_paths(folder)} for folder in (kodak, train_photographs)]
    assert len(names[0]) == 24
    assert not names[0] & names[1]
    assert not contents[0] & contents[1]


def test_where_nothing_can_be_held_out_the_training_photographs_validate(folder, tmp_path, capsys):
    for name in GOOD:
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    training, validation = load_folder(tmp_path, 0.0, CROP)
    assert validation.names == training.names == tuple(sorted(GOOD))
    assert "too few photographs to hold one out; validating on those to train on" in capsys.readouterr().out
    training, validation = load_folder(tmp_path, 0.5, CROP)
    assert sorted(training.names + validation.names) == sorted(GOOD)
