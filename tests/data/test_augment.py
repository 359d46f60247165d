import numpy as np
import pytest

from tests.data.folders import make_masks
from vdmfewshot.clips.clip import Pair
from vdmfewshot.clips.geometry import Letterbox
from vdmfewshot.codecs.keypoints import KeypointCodec
from vdmfewshot.data.augment import Jitter, PoseJitter
from vdmfewshot.data.base import FewShotDataModule
from vdmfewshot.data.examples import Splits
from vdmfewshot.data.segmentation import MaskFolderDataModule


def disc(points, size=(60, 80), radius=4.0):
    """A white disc at each (x, y) on grey; centre of the top-left pixel at .5."""
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    image = np.full((*size, 3), 90, np.uint8)
    for px, py in points:
        image[np.hypot(x - px, y - py) <= radius] = 255
    return image


def centroid(mask):
    y, x = np.nonzero(mask)
    return np.array([x.mean() + 0.5, y.mean() + 0.5])


def test_variant_zero_is_the_pair_itself():
    pair = Pair("a", disc([(20, 20)]), disc([(20, 20)]))
    assert Jitter(0)(pair, 0) is pair


def test_variant_one_is_the_exact_mirror_image():
    image = np.random.default_rng(0).integers(0, 256, (31, 44, 3), dtype=np.uint8)
    mask = image[..., 0] > 128
    mirrored = Jitter(0)(Pair("a", image, mask), 1)
    assert np.array_equal(mirrored.image, image[:, ::-1])
    assert np.array_equal(mirrored.target, mask[:, ::-1])
    assert mirrored.target.dtype == bool
    assert mirrored.key == "a.v1"


@pytest.mark.parametrize("variant", range(2, 12))
def test_target_moves_exactly_with_the_picture(variant):
    image = disc([(40, 30)], radius=8)
    mask = image[..., 0] == 255
    moved = Jitter(3)(Pair("a", image, mask), variant)
    bright = moved.image[..., 0] > 172
    assert (bright != moved.target).mean() < 0.005
    assert np.abs(centroid(bright) - centroid(moved.target)).max() < 0.3
    picture = Jitter(3)(Pair("a", image, image), variant)
    assert np.array_equal(picture.image, picture.target)


@pytest.mark.parametrize("variant", range(1, 12))
def test_joints_follow_their_pixels(variant):
    spots = np.array([(30.0, 20.0), (50.0, 40.0), (40.0, 30.0)])
    target = np.column_stack([spots, [2, 1, 2]]).astype(float)
    for joint in range(3):
        pair = Pair("a", disc(spots[joint : joint + 1]), target)
        moved = PoseJitter(1, mirrored=(1, 0, 2))(pair, variant)
        row = (1, 0, 2)[joint] if variant % 2 else joint
        assert np.abs(centroid(moved.image[..., 0] > 172) - moved.target[row, :2]).max() < 0.6
        assert moved.target[row, 2] == target[joint, 2]


def test_joints_that_leave_the_picture_or_were_missing_are_missing():
    target = np.array([[1.0, 1.0, 2], [0, 0, 0], [40, 30, 2]])
    pair = Pair("a", disc([(1, 1)]), target)
    results = [PoseJitter(2, mirrored=(0, 1, 2))(pair, v).target for v in range(2, 40)]
    assert all((t[1] == 0).all() and t[2, 2] == 2 for t in results)
    assert any((t[0] == 0).all() for t in results)
    box = Letterbox((60, 80), (64, 64))
    assert all(KeypointCodec(3).encode(t, box).shape == (64, 64, 3) for t in results)


def test_variants_are_deterministic_distinct_and_depend_on_seed_and_key():
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    pair, other = Pair("a", image, image), Pair("b", image, image)
    images = [Jitter(0)(pair, v).image for v in range(12)]
    assert len({i.tobytes() for i in images}) == 12
    assert all(np.array_equal(Jitter(0)(pair, v).image, images[v]) for v in range(12))
    assert not np.array_equal(Jitter(1)(pair, 5).image, images[5])
    assert not np.array_equal(Jitter(0)(other, 5).image, images[5])


def test_ignored_pixels_stay_ignored(tmp_path):
    labels = np.zeros((24, 20), np.uint8)
    labels[5:10], labels[12:15] = 255, 1
    moved = Jitter(0)(Pair("a", np.zeros((24, 20, 3), np.uint8), labels), 7).target
    assert set(np.unique(moved)) == {0, 1, 255}


def test_a_module_without_augmentation_refuses_variants(tmp_path):
    class Plain(MaskFolderDataModule):
        def make_augmenter(self):
            return None

    data = Plain(str(make_masks(tmp_path)), variants=2)
    with pytest.raises(ValueError, match="variants must be 1 without an augmentation, got 2"):
        data.setup("fit")


def test_a_new_task_needs_four_methods(tmp_path):
    """The extension point: a data module over other files, written from scratch."""
    source = MaskFolderDataModule(str(make_masks(tmp_path)))

    class Mine(FewShotDataModule):
        task_name = "mine"

        def load(self):
            return Splits(source.load().pool, hold_out=True)

        def make_codec(self):
            return source.make_codec()

        def make_metric(self):
            return source.make_metric()

    data = Mine(shots=1, height=16, width=16)
    data.setup("fit")
    assert len(data.support) == 1
    assert len(data.queries("test")) == 3
    assert next(iter(data.train_dataloader())).frames.shape == (4, 9, 3, 16, 16)
