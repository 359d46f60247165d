"""Renderers and rings: every clip comes once, in time, and what is changed stays video."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
import pytest
import torch

from vdmfewshot.data.generated.pictures import MAPS
from vdmfewshot.pretrain.corpus import SOURCES, clip
from vdmfewshot.pretrain.feed import Feed
from vdmfewshot.pretrain.renderers import BLOCK, RenderPool, block_size, render_block
from vdmfewshot.pretrain.rings import ClipRing, augmented, time_lapse

CPU = torch.device("cpu")


def collect(pool: RenderPool, count: int) -> list[np.ndarray]:
    blocks: list[np.ndarray] = []
    deadline = time.monotonic() + 60
    while len(blocks) < count and time.monotonic() < deadline:
        blocks += pool.poll()
        time.sleep(0.01)
    return blocks


def test_processes_render_what_the_corpus_says() -> None:
    sizes = {32: 0.5, 48: 0.5}
    pool = RenderPool(3, sizes, workers=2, first_block=7)
    try:
        blocks = collect(pool, 6)
    finally:
        pool.close()
    expected = {render_block(3, n, block_size(3, n, sizes)).tobytes() for n in range(7, pool.next_block)}
    assert len({block.tobytes() for block in blocks}) == len(blocks) >= 6
    assert {block.tobytes() for block in blocks} <= expected
    assert {block.shape[2] for block in blocks} <= set(sizes)


def test_a_process_that_dies_does_not_stop_the_others() -> None:
    pool = RenderPool(3, {32: 1.0}, workers=2)
    try:
        collect(pool, 2)
        os.kill(pool.processes[0].pid, signal.SIGKILL)
        pool.processes[0].join()
        assert len(collect(pool, 12)) >= 12
    finally:
        pool.close()


def test_without_any_process_clips_are_rendered_here() -> None:
    pool = RenderPool(3, {32: 1.0}, workers=1)
    for process in pool.processes:
        process.kill()
        process.join()
    feed = Feed(pool, CPU, 0.001, redraws=1)
    feed.fill(patience=0.0)
    assert feed.rings[32].filled >= BLOCK
    assert feed.draw(32, 2, torch.Generator().manual_seed(0)).shape == (2, 3, 9, 32, 32)
    pool.close()


def test_a_ring_keeps_the_latest() -> None:
    ring, rng = ClipRing(4, 2 * BLOCK, CPU), torch.Generator().manual_seed(0)
    for value in (0, 51, 255):
        ring.add(np.full((BLOCK, 9, 4, 4, 3), value, np.uint8))
    drawn = ring.draw(200, rng)
    assert drawn.shape == (200, 3, 9, 4, 4)
    assert sorted(set(drawn[:, 0, 0, 0, 0].tolist())) == pytest.approx([51 / 127.5 - 1, 1.0])


def test_change_is_the_same_for_all_frames() -> None:
    still = torch.rand(64, 3, 1, 16, 16).expand(-1, -1, 9, -1, -1) * 2 - 1
    changed = augmented(still, torch.Generator().manual_seed(0))
    torch.testing.assert_close(changed, changed[:, :, :1].expand_as(changed), atol=1e-5, rtol=0)
    assert (changed - still).abs().flatten(1).amax(1).gt(0.1).float().mean() > 0.7
    assert changed.abs().max() <= 1 + 1e-5


def test_time_lapse_is_the_clip_of_the_one_frame_mode() -> None:
    clips = torch.arange(9.0).view(1, 1, 9, 1, 1).expand(2, 3, 9, 4, 4)
    assert time_lapse(clips)[0, 0, :, 0, 0].tolist() == [0, 8, 8, 8, 8]


def test_no_changed_clip_shows_a_map_of_the_evidence() -> None:
    clips = np.stack([clip(2, index, 32, source) for source in SOURCES for index in range(10)])
    pixels = torch.from_numpy(clips).movedim(-1, 1).float() / 127.5 - 1
    frames = ((augmented(pixels, torch.Generator().manual_seed(1)).movedim(1, -1) + 1) * 127.5).round().byte().numpy()
    for name, mapped in MAPS.items():
        for first, last in zip(frames[:, 0], frames[:, -1], strict=True):
            target = mapped(np.ascontiguousarray(first)).astype(float)
            assert np.abs(target - first).mean() < 16 or np.abs(target - last).mean() > 8, name
