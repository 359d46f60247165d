from __future__ import annotations

import dataclasses
from dataclasses import replace

import numpy as np
import pytest
import torch

from vdmfewshot.clips.clip import Clip, ClipBatch, Pair, collate, to_frame, to_image

IMAGE = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def clip(key: str = "a", frames: int = 2) -> Clip:
    return Clip(to_frame(IMAGE)[None].repeat(frames, 1, 1, 1), Pair(key, IMAGE), ordinal=7)


def test_images_survive_the_round_trip() -> None:
    np.testing.assert_allclose(to_image(to_frame(IMAGE)), IMAGE, atol=1e-3)
    assert to_frame(IMAGE).min() >= -1
    assert to_frame(IMAGE).max() <= 1


def test_frames_have_the_bits_of_diffusers() -> None:
    from diffusers.video_processor import VideoProcessor
    from PIL import Image

    theirs = VideoProcessor(vae_scale_factor=8).preprocess(Image.fromarray(IMAGE), 8, 8)
    assert torch.equal(theirs[0], to_frame(IMAGE))


def test_non_finite_values_do_not_reach_decoders() -> None:
    frame = torch.tensor([float("nan"), float("inf"), -float("inf")]).view(3, 1, 1)
    assert to_image(frame).ravel().tolist() == [0, 255, 0]


def test_what_exceeds_the_range_is_clipped() -> None:
    frame = torch.tensor([-1.5, -1, 0, 1, 1.5, 0.2]).view(3, 1, 2)
    assert to_image(frame).transpose(2, 0, 1).ravel().tolist() == pytest.approx([0, 0, 127.5, 255, 255, 153])


@pytest.mark.parametrize("image", [IMAGE.astype(np.float32), IMAGE[..., 0], IMAGE[..., :2]])
def test_pairs_hold_uint8_rgb(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"must be \(h, w, 3\) uint8 RGB"):
        Pair("a", image)


@pytest.mark.parametrize("key", ["", "../x", "a/b", ".hidden", "a b"])
def test_keys_are_safe_file_names(key: str) -> None:
    with pytest.raises(ValueError, match="key must be letters, digits"):
        Pair(key, IMAGE)


def test_a_batch_keeps_order_and_moves_as_one() -> None:
    batch = collate([clip("a"), clip("b")])
    assert [p.key for p in batch.pairs] == ["a", "b"]
    assert batch.frames.shape == (2, 2, 3, 8, 8)
    moving = replace(batch, frames=torch.randn(2, 2, 3, 8, 8))
    assert torch.equal(moving.first_frame, moving.frames[:, 0])
    assert batch.digests[0] == batch.digests[1], "equal frames, equal digest"
    assert len(batch) == 2


def test_what_is_not_said_of_a_clip_is_that_it_is_a_query_of_the_only_task() -> None:
    batch = collate([Clip(clip().frames, clip().pair)])
    assert (batch.ordinals, batch.tasks, batch.views) == ((-1,), ("",), 1)
    bare = ClipBatch(batch.frames, batch.pairs, batch.ordinals, batch.digests)
    assert (bare.tasks, bare.views) == (("",), 1)


def test_a_batch_is_taken_apart_by_task() -> None:
    clips = [replace(clip("abcd"[i]), task="xyxx"[i], ordinal=i) for i in range(4)]
    generated, latents = torch.randn(4, 2, 1, 3, 8, 8), torch.randn(4, 2, 1, 4, 2, 2)
    batch = replace(collate(clips), generated=generated, latents=latents, views=2)
    parts = batch.by_task()
    assert list(parts) == ["x", "y"]
    x = parts["x"]
    assert [pair.key for pair in x.pairs] == ["a", "c", "d"]
    assert x.ordinals == (0, 2, 3)
    assert (x.tasks, x.views, len(x.digests)) == (("x",) * 3, 2, 3)
    for ours, whole in ((x.frames, batch.frames), (x.generated, batch.generated), (x.latents, batch.latents)):
        assert ours is not None
        assert whole is not None
        assert torch.equal(ours, whole[[0, 2, 3]])
    plain = collate(clips).by_task()["y"]
    assert plain.generated is None
    assert plain.latents is None


def test_digests_tell_frames_apart() -> None:
    changed = clip().frames.clone()
    changed[1, 0, 0, 0] += 1 / 255
    assert Clip(changed, clip().pair).digest != clip().digest
    assert clip(frames=3).digest != clip(frames=2).digest


def test_batches_are_checked_and_immutable() -> None:
    with pytest.raises(ValueError, match="must have one shape"):
        collate([clip(frames=2), clip(frames=3)])
    with pytest.raises(ValueError, match=r"floating point \(B, F, 3, H, W\)"):
        ClipBatch(torch.zeros(1, 2, 3, 8), (clip().pair,), (0,), ("x",))
    for wrong in (torch.zeros(1, 2, 4, 8, 8), torch.zeros(1, 2, 3, 8, 8, dtype=torch.uint8)):
        with pytest.raises(ValueError, match=r"floating point \(B, F, 3, H, W\)"):
            ClipBatch(wrong, (clip().pair,), (0,), ("x",))
    with pytest.raises(ValueError, match="same length"):
        ClipBatch(torch.zeros(1, 2, 3, 8, 8), (), (0,), ("x",))
    for value in (clip(), clip().pair, collate([clip()])):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, dataclasses.fields(value)[0].name, torch.zeros(1))


def test_batches_move_to_a_device() -> None:
    batch = replace(collate([clip()]), generated=torch.zeros(1, 1, 2, 3, 8, 8)).to("meta")
    assert batch.generated is not None
    assert batch.frames.device.type == batch.generated.device.type == "meta"
