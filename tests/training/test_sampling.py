"""Prediction: presets, merging with an exact un-merge, attempts in one batch, first frames encoded once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.tiny_training import adapter_weights, make_data, make_module, make_trainer, same
from vdmfewshot.backbones import CogVideoX
from vdmfewshot.callbacks.visuals import Visuals
from vdmfewshot.clips.clip import ClipBatch, to_frame, to_image
from vdmfewshot.clips.rng import named_generator
from vdmfewshot.clips.transition import transition
from vdmfewshot.data.arc import ArcDataModule
from vdmfewshot.data.base import FewShotDataModule
from vdmfewshot.data.segmentation import MaskFolderDataModule
from vdmfewshot.defaults import EMBEDDED, PAPERS
from vdmfewshot.training.module import FewShotModule
from vdmfewshot.training.sampling import SamplingArgs


@pytest.fixture
def trained(tiny: Path, pairs_root: Path, tmp_path: Path) -> FewShotModule:
    """A module whose adapter has moved far enough to show."""
    module = make_module(tiny, lr=5e-2)
    make_trainer(tmp_path, 5).fit(module, datamodule=make_data(pairs_root))
    return module


def predict(module: FewShotModule, root: Path, folder: Path, **data: Any) -> dict[str, torch.Tensor]:
    batches: list[ClipBatch] = make_trainer(folder, 1).predict(module, datamodule=make_data(root, **data))
    return {p.key: g for b in batches for p, g in zip(b.pairs, b.generated, strict=True)}


# -- quality ----------------------------------------------------------------------------------------------------------


def test_quality_sets_what_is_not_given() -> None:
    fast, paper = SamplingArgs(), SamplingArgs(quality="paper")
    assert (fast.num_inference_steps(PAPERS), fast.guidance_scale) == (10, 1.0)
    assert [SamplingArgs().num_inference_steps(preset) for preset in (EMBEDDED, PAPERS)] == [1, 10]
    assert SamplingArgs(quality="one").num_inference_steps(PAPERS) == 1
    assert (few := SamplingArgs(quality="few")).num_inference_steps(PAPERS) == 4
    assert few.guidance_scale == 1.0
    assert (paper.num_inference_steps(PAPERS), paper.guidance_scale) == (50, 6.0)
    mixed = SamplingArgs(quality="paper", steps=20)
    assert (mixed.num_inference_steps(PAPERS), mixed.guidance_scale) == (20, 6.0)
    assert SamplingArgs(quality="paper", guidance=1.0).guidance_scale == 1.0


# -- merging ----------------------------------------------------------------------------------------------------------


def test_validation_with_merging_changes_nothing_of_training(tiny: Path, pairs_root: Path, tmp_path: Path) -> None:
    weights = []
    for merge, every in ((True, 2), (False, 2), (False, 6)):
        module = make_module(tiny, sampling=SamplingArgs(steps=1, merge=merge))
        data = make_data(pairs_root, val_fraction=0.34)
        make_trainer(tmp_path, 6, val_check_interval=every, check_val_every_n_epoch=None).fit(module, datamodule=data)
        weights.append(adapter_weights(module))
    assert same(weights[0], weights[1])
    assert same(weights[0], weights[2])


# -- batches ----------------------------------------------------------------------------------------------------------


def test_attempts_share_calls_and_results_do_not_depend_on_how(
    trained: FewShotModule, pairs_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample, sizes = trained.backbone.sample, []

    def counted(frames: torch.Tensor, *args: Any) -> torch.Tensor:
        sizes.append(len(frames))
        return sample(frames, *args)

    monkeypatch.setattr(trained.backbone, "sample", counted)
    results = []
    for limit in (16, 4, 1):
        trained.sampling = SamplingArgs(steps=2, attempts=3, max_batch=limit, decode="clip")
        results.append(predict(trained, pairs_root, tmp_path, eval_batch_size=2))
    assert sizes[:2] == [6, 3], "three queries, two a batch, three attempts each"
    assert sizes[2:5] == [4, 2, 3]
    assert sizes[5:] == [1] * 9
    for key, clips in results[0].items():
        assert clips.shape[:2] == (3, 9)
        assert not torch.equal(clips[0], clips[1]), "attempts differ"
        for other in results[1:]:
            torch.testing.assert_close(other[key], clips, rtol=0, atol=1e-5)


# -- decoding ---------------------------------------------------------------------------------------------------------


def test_decoding_clips_shows_what_the_stock_pipeline_shows(
    trained: FewShotModule, pairs_root: Path, tmp_path: Path
) -> None:
    trained.sampling = SamplingArgs(steps=1, decode="clip", merge=False)
    clips = predict(trained, pairs_root, tmp_path, eval_batch_size=1)
    trained.sampling = SamplingArgs(steps=1, merge=False)
    last = predict(trained, pairs_root, tmp_path, eval_batch_size=1)
    data = make_data(pairs_root)
    data.setup("predict")
    for pair in data.queries("predict"):
        image = torch.from_numpy(pair.image).permute(2, 0, 1)[None].float() / 255 * 2 - 1
        generator = named_generator(0, "generate", pair.key, 0)
        expected = trained.backbone.generate(image, 9, [generator], 1, 1.0)
        assert torch.equal(clips[pair.key], expected)
        assert last[pair.key].shape == (1, 1, 3, 32, 32)


@pytest.mark.parametrize(
    "data",
    [MaskFolderDataModule("sample:nuclei", shots=5, max_queries=2), ArcDataModule(task="b1948b0a", source="arcagi1")],
    ids=["nuclei", "arc"],
)
def test_the_last_latent_alone_gives_the_labels_of_the_whole_clip(data: FewShotDataModule) -> None:
    """On the embedded model, for true clips; what decides whether ``decode: last`` may be the default."""
    backbone = CogVideoX()
    backbone.load()
    data.setup("test")
    for pair in data.queries("test"):
        target = to_frame(data.codec.encode(pair.target, data.box(pair)))
        clip = transition(torch.zeros_like(target), target, 9)[None]
        latents = backbone.encode(clip).x0[:, 1:]
        frames = [decode(latents, []) for decode in (backbone.decode, backbone.decode_last)]
        assert [f.shape[1] for f in frames] == [9, 1]
        whole, last = (np.asarray(data.decode(to_image(f[0, -1]), pair).label) for f in frames)
        assert whole.shape == last.shape
        assert (whole == last).mean() > 0.997
        error = [float((f[0, -1] - target).square().mean()) for f in frames]
        assert error[1] < 1.2 * error[0], "as far from the truth as the whole clip's last frame"


@pytest.mark.parametrize(
    ("settings", "frames"),
    [({}, 1), ({"num_frames": 5}, 8), ({"transition": "convex"}, 9), ({"num_frames": 13}, 1)],
)
def test_a_last_latent_of_several_pictures_is_decoded_with_the_clip(
    tiny: Path, pairs_root: Path, tmp_path: Path, settings: dict[str, Any], frames: int
) -> None:
    clips = predict(make_module(tiny, sampling=SamplingArgs(steps=1)), pairs_root, tmp_path, **settings)
    assert {clip.shape[1] for clip in clips.values()} == {frames}


def test_pictures_show_whole_clips(trained: FewShotModule, pairs_root: Path, tmp_path: Path) -> None:
    trained.sampling = SamplingArgs(steps=1)
    visuals = Visuals(max_samples=1)
    make_trainer(tmp_path, 1, callbacks=[visuals]).test(trained, datamodule=make_data(pairs_root), verbose=False)
    (file,) = tmp_path.glob("pictures/test/step=*/*.gif")
    with Image.open(file) as gif:
        assert gif.n_frames > 1


# -- first frames -----------------------------------------------------------------------------------------------------


def test_first_frames_are_encoded_once_and_draws_keep_their_bits(
    tiny: Path, pairs_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = make_module(tiny).backbone
    backbone.load()
    calls: list[int] = []
    backbone.vae.encoder.register_forward_pre_hook(lambda module, args: calls.append(len(args[0])))
    frames = torch.rand(2, 3, 32, 32) * 2 - 1
    repeated = frames.repeat_interleave(2, 0)

    def generators(seed: int) -> list[torch.Generator]:
        return [torch.Generator().manual_seed(seed + i) for i in range(4)]

    stock = backbone.sample(repeated, 9, generators(0), 1, 1.0)
    assert len(calls) == 4, "the stock pipeline encodes every attempt"
    expected = backbone.decode(stock, generators(0))
    calls.clear()
    assert torch.equal(backbone.generate(repeated, 9, generators(0), 1, 1.0), expected)
    assert len(calls) == 2
    assert torch.equal(backbone.generate(repeated, 9, generators(0), 1, 1.0), expected)
    assert not torch.equal(backbone.generate(repeated, 9, generators(7), 1, 1.0), expected)
    assert len(calls) == 2, "later calls find every frame in memory"
    assert "encode" not in vars(backbone.vae), "the VAE is as it was"


def test_what_decides_the_encoding_decides_the_entry(tiny: Path) -> None:
    backbone = make_module(tiny).backbone
    backbone.load()
    image, memory = torch.rand(1, 3, 1, 32, 32), backbone._posteriors
    with memory.of(backbone.vae), torch.no_grad():
        for changed in (image, image + 1e-6, image[..., :24]):
            assert torch.equal(
                backbone.vae.encode(changed).latent_dist.mode(),
                type(backbone.vae).encode(backbone.vae, changed).latent_dist.mode(),
            )
        with torch.autocast("cpu", torch.bfloat16):
            backbone.vae.encode(image)
    assert len(memory) == 4


# -- compilation ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_compiled_blocks_train_predict_and_export_as_plain_ones(tiny: Path, pairs_root: Path, tmp_path: Path) -> None:
    """Names of a checkpoint stay, so that a compiled run resumes as a plain one and the other way round."""
    modules = {}
    for name, compiled in (("plain", False), ("compiled", True)):
        module = make_module(tiny, lr=1e-3, compile=compiled)
        make_trainer(tmp_path / name, 2).fit(module, datamodule=make_data(pairs_root, batch_size=3))
        modules[name] = module
    plain, compiled = (adapter_weights(modules[name]) for name in ("plain", "compiled"))
    assert plain.keys() == compiled.keys()
    assert not any("_orig_mod" in key for key in modules["compiled"].backbone.state_dict())
    for key, weight in plain.items():
        torch.testing.assert_close(compiled[key], weight, rtol=0, atol=1e-4)
    results = [predict(module, pairs_root, tmp_path) for module in modules.values()]
    for key, clips in results[0].items():
        torch.testing.assert_close(results[1][key], clips, rtol=0, atol=1e-3)
    last = torch.load(tmp_path / "compiled/checkpoints/last.ckpt", weights_only=True)
    assert last["state_dict"].keys() == plain.keys()
