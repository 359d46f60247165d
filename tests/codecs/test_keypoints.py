import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.codecs.degradations import degrade
from vdmfewshot.clips.geometry import Letterbox
from vdmfewshot.codecs import KeypointCodec
from vdmfewshot.codecs.keypoints import discs

#: OKS constants of COCO, nose to ankles
SIGMAS = np.array([26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89]) / 1000
#: a standing person in a unit square
PERSON = np.array(
    [
        (0.50, 0.14), (0.53, 0.11), (0.47, 0.11), (0.57, 0.13), (0.43, 0.13), (0.62, 0.27), (0.38, 0.27), (0.68, 0.42),
        (0.32, 0.42), (0.71, 0.55), (0.29, 0.55), (0.58, 0.55), (0.42, 0.55), (0.59, 0.74), (0.41, 0.74), (0.60, 0.92),
        (0.40, 0.92),
    ]
)  # fmt: skip


def person(rng, size):
    points = (PERSON + rng.normal(0, 0.02, (17, 2))) * np.array(size[::-1])
    return np.concatenate([points, np.full((17, 1), 2.0)], axis=1)


def oks(found, truth, area):
    squared = ((found[:, :2] - truth[:, :2]) ** 2).sum(1)
    score = np.exp(-squared / (2 * area * (2 * SIGMAS) ** 2))
    return (score * (found[:, 2] > 0)).mean()


def test_left_and_right_differ_strongly():
    table = np.array(KeypointCodec().palette, dtype=float)
    with_black = np.concatenate([table, np.zeros((1, 3))])
    gaps = np.linalg.norm(with_black[:, None] - with_black[None], axis=-1)
    assert gaps[~np.eye(18, dtype=bool)].min() >= 125
    assert min(np.linalg.norm(table[k] - table[k + 1]) for k in range(1, 17, 2)) >= 250


@given(st.integers(0, 10**6), st.sampled_from([(96, 96), (256, 192), (480, 640), (61, 33)]))
@settings(max_examples=60, deadline=None)
def test_people_come_back_within_a_fraction_of_a_pixel(seed, source):
    rng = np.random.default_rng(seed)
    box = Letterbox(source, (128, 128))
    truth = person(rng, source)
    truth[:, 2] = rng.integers(0, 3, 17)
    found = KeypointCodec().decode(KeypointCodec().encode(truth, box), box).label
    seen = truth[:, 2] > 0
    gaps = np.linalg.norm(truth[:, None, :2] - truth[seen][None, :, :2], axis=-1) * box.scale
    gap = np.where(gaps > 0, gaps, np.inf).min(axis=1, initial=np.inf)
    codec = KeypointCodec()
    radius = codec.radius * 128
    visible = np.ones(17)
    visible[seen] = discs(box.points_to_canvas(truth[seen, :2]), box.canvas, radius).sum((1, 2)) / (np.pi * radius**2)
    # of joints on one spot, one disc may hide the others
    apart = visible > 0.3
    assert ((found[:, 2] > 0) == seen)[apart].all()
    assert (found[~seen] == 0).all()
    errors = np.linalg.norm(found[:, :2] - truth[:, :2], axis=1) * box.scale
    assert errors[seen & (gap > 5)].max(initial=0.0) < 0.8
    assert errors[seen & apart].max(initial=0.0) < radius  # still within its disc
    if seen.any():
        assert np.median(errors[seen]) < 0.3


def test_overlapping_discs_stay_where_they_are():
    box = Letterbox((96, 96), (96, 96))
    truth = np.array([[40.0, 40.0, 2.0], [43.0, 40.0, 2.0], [41.5, 42.5, 1.0]])
    codec = KeypointCodec(num_joints=3, radius=0.06)
    found = codec.decode(codec.encode(truth, box), box).label
    assert np.linalg.norm(found[:, :2] - truth[:, :2], axis=1).max() < 0.35


@pytest.mark.parametrize(("level", "least"), [("mild", 0.98), ("medium", 0.97), ("severe", 0.9)])
def test_oks_after_degradation(level, least):
    box = Letterbox((256, 256), (256, 256))
    codec = KeypointCodec()
    scores = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        truth = person(rng, box.source)
        decoded = codec.decode(degrade(codec.encode(truth, box), level, rng), box)
        scores.append(oks(decoded.label, truth, area=0.45 * 256 * 0.85 * 256))
    assert np.mean(scores) >= least, np.mean(scores)


def test_missing_joints_are_reported_missing():
    box = Letterbox((96, 96), (96, 96))
    for frame in (np.zeros((96, 96, 3)), np.full((96, 96, 3), 255.0), np.full((96, 96, 3), (0.0, 96.0, 255.0))):
        decoded = KeypointCodec().decode(frame, box)
        assert decoded.confidence == 0
        assert not decoded.label.any()


@pytest.mark.parametrize("sigma", [2, 5, 15, 40])
@pytest.mark.parametrize("codec", [KeypointCodec(), KeypointCodec(2), KeypointCodec(2, 0.08)], ids=["17", "2", "large"])
def test_noise_shows_nobody(sigma, codec):
    box = Letterbox((96, 96), (96, 96))
    for seed in range(20):
        frame = np.random.default_rng(seed).normal(0, sigma, (96, 96, 3))
        assert codec.decode(frame, box).confidence == 0


@pytest.mark.parametrize(("num_joints", "light"), [(2, 0.12), (2, 0.3), (17, 0.3), (17, 0.6)])
def test_dim_discs_are_found_with_less_confidence(num_joints, light):
    box, codec = Letterbox((96, 96), (96, 96)), KeypointCodec(num_joints)
    for seed in range(5):
        truth = person(np.random.default_rng(seed), (96, 96))[-num_joints:]
        frame = light * codec.encode(truth, box)
        decoded = codec.decode(frame, box)
        near = np.linalg.norm(decoded.label[:, :2] - truth[:, :2], axis=1) < 3
        assert near.mean() >= (1.0 if num_joints == 2 else 0.8)
        assert 0 < decoded.confidence < 1.2 * light


def test_bright_discs_are_read_as_they_are():
    """A joint that is not there must not be found in the light that a dim drawing would need."""
    box, codec = Letterbox((96, 96), (96, 96)), KeypointCodec()
    for seed in range(10):
        rng = np.random.default_rng(seed)
        truth = person(rng, (96, 96))
        truth[rng.permutation(17)[:8]] = 0
        found = codec.decode(codec.encode(truth, box), box).label
        assert not found[truth[:, 2] == 0].any()


def test_details_hold_a_score_per_joint():
    box = Letterbox((96, 96), (96, 96))
    truth = person(np.random.default_rng(0), (96, 96))
    truth[3] = 0
    details = KeypointCodec().decode(KeypointCodec().encode(truth, box), box).details
    assert {f"score_{j}" for j in range(17)} | {"score"} == set(details)
    assert details["score_3"] < 0.05
    assert details["score_15"] > 0.9


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (np.zeros((16, 3)), r"\(17, 3\)"),
        (np.full((17, 3), 3.0), "visibility"),
        (np.full((17, 3), [np.nan, 1.0, 2.0]), "finite"),
    ],
)
def test_bad_keypoints_are_refused(label, message):
    with pytest.raises(ValueError, match=message):
        KeypointCodec().encode(label, Letterbox((8, 8), (8, 8)))
