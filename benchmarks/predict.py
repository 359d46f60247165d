"""A prediction: what steps, guidance, frames, decoding and merging cost, and what they are worth.

The baseline is what video pipelines do by default: 50 steps with guidance, every frame decoded.

    python -m benchmarks.predict
    python -m benchmarks.predict --backbone cogvideox-1.5-5b --size true --queries 2
    python -m benchmarks.predict --score
    python -m benchmarks.predict --score --with "-c experiments/overlay/one-frame.yaml --data.init_args.height=64"
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from benchmarks.curve import choose, curve
from benchmarks.harness import arguments, interleave, publish, ratios
from benchmarks.models import add_model_arguments, build
from vdmfewshot.data.segmentation import MaskFolderDataModule
from vdmfewshot.defaults import PAPERS
from vdmfewshot.training.module import FewShotModule
from vdmfewshot.training.sampling import SamplingArgs
from vdmfewshot.training.trainer import FewShotTrainer

BASELINE = "50 steps, guidance 6, clip decoded, not merged"
QUIET = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")


def move_adapter(module: FewShotModule) -> None:
    """Give the adapter an effect: merging an untrained one would be the addition of zeros."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in module.named_parameters():
        if "lora_B" in name:
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.01)


def settings(args: argparse.Namespace, default: SamplingArgs) -> dict[str, tuple[int, SamplingArgs]]:
    """(frames, sampling) by name; the baseline first, then the model file's own sampling and changes of it."""
    frames = args.shape[0]
    default = replace(default, max_batch=args.queries)
    published = SamplingArgs(quality="paper", decode="clip", merge=False, max_batch=args.queries)
    rows = {
        BASELINE: (frames, published),
        "default": (frames, default),
        "default, clip decoded": (frames, replace(default, decode="clip")),
        "default, not merged": (frames, replace(default, merge=False)),
        "default, merged": (frames, replace(default, merge=True)),
        "default, guidance 6": (frames, replace(default, guidance=6.0)),
        "default, one at a time": (frames, replace(default, max_batch=1)),
        "default, 5 frames": (5, default),
    }
    others = [n for n in args.steps if n != default.num_inference_steps(PAPERS)]
    return {**rows, **{f"{n} steps": (frames, replace(default, steps=n)) for n in others}}


def case(module: FewShotModule, frames: int, sampling: SamplingArgs, args: argparse.Namespace) -> Callable[[], None]:
    """``Trainer.predict`` over all queries."""
    _, height, width = args.shape
    data = MaskFolderDataModule(
        "sample:nuclei", shots=1, num_frames=frames, height=height, width=width,
        max_queries=args.queries, eval_batch_size=args.queries,
    )  # fmt: skip
    precision: Any = "bf16-mixed" if module.device.type == "cuda" else "32-true"
    trainer = FewShotTrainer(devices=1, precision=precision, **dict.fromkeys(QUIET, False))

    def run() -> None:
        module.sampling = sampling
        trainer.predict(module, datamodule=data, return_predictions=False)

    return run


def cases(args: argparse.Namespace) -> dict[str, Callable[[], None]]:
    """What is compared, by name; the baseline first."""
    module = build(args)
    move_adapter(module)
    rows = {name: case(module, *setting, args) for name, setting in settings(args, module.sampling).items()}
    if args.compile:
        compiled = build(args, compile=True)
        move_adapter(compiled)
        rows["default, compiled"] = case(compiled, *settings(args, module.sampling)["default"], args)
    return rows


def parser() -> argparse.ArgumentParser:
    """Options of the script."""
    options = arguments(__doc__ or "")
    add_model_arguments(options)
    options.add_argument("--queries", type=int, default=4, help="predicted in one batch")
    options.add_argument("--steps", type=int, nargs="+", default=[1, 2, 4, 6, 8, 10, 20], help="on the curve")
    options.add_argument("--compile", action="store_true", help="add a case with compiled blocks")
    options.add_argument("--score", action="store_true", help="train adapters and print steps against score instead")
    options.add_argument("--train_steps", type=int, help="of those adapters; default: the experiments'")
    options.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="support sets of those adapters")
    options.add_argument(
        "--with", dest="extra", type=shlex.split, default=[], help="more for their command lines, quoted"
    )
    return options


def main() -> None:
    """Time the cases, or measure the curve; print and write."""
    args = parser().parse_args()
    if args.score:
        rows: list[dict[str, Any]] = []
        for measured in curve(args.backbone, args.steps, args.train_steps, args.seeds, args.extra):
            rows += measured
            publish("predict_score", rows, args, chosen_steps=choose(rows))
    else:
        publish("predict", ratios(interleave(cases(args), args.repeats), BASELINE), args)


if __name__ == "__main__":
    main()
