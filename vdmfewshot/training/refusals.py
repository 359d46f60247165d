"""What is refused before a weight is read: finished runs, devices that are not there, clips of another shape."""

from __future__ import annotations

from pathlib import Path

import torch

from vdmfewshot.lora.adapters import MANIFEST_FILE
from vdmfewshot.storage.documents import read_object


def require_hardware(accelerator: str, precision: str) -> None:
    """Refuse an accelerator that is not there, and fp16 on a CPU.

    Args:
        accelerator: as the Trainer has it.
        precision: as the Trainer has it.

    Raises:
        ValueError: naming what there is.
    """
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    there = found.type if found else "cpu"
    wanted = {"gpu": ("cuda", "mps", "xpu"), "cuda": ("cuda",), "mps": ("mps",)}.get(accelerator)
    if wanted and there not in wanted:
        raise ValueError(
            f"trainer.accelerator {accelerator} needs a device that PyTorch {torch.__version__} does not find, only "
            f"{there}; use --trainer.accelerator auto, or install a build of PyTorch for your GPU"
        )
    on_cpu = accelerator == "cpu" or (accelerator == "auto" and there == "cpu")
    if on_cpu and precision in ("16", "16-mixed", "16-true"):
        raise ValueError(
            f"trainer.precision {precision} takes minutes a step on a CPU, which has no fp16 units; leave it out, or "
            "use 32-true or bf16-mixed"
        )


def require_steps(file: Path, max_steps: int) -> None:
    """Refuse to resume a run that is complete.

    Args:
        file: a checkpoint.
        max_steps: of the run that resumes it; -1 has no end.

    Raises:
        ValueError: if there is nothing left to train.
    """
    step = int(torch.load(file, map_location="cpu", weights_only=True)["global_step"])
    if 0 <= max_steps <= step:
        raise ValueError(
            f"{file} has {step} steps and trainer.max_steps is {max_steps}, so there is nothing left to train; raise "
            "--trainer.max_steps to go on, or score it with `vdmfewshot test --ckpt_path`"
        )


def require_clip(adapter: Path, clip_shape: tuple[int, int, int]) -> None:
    """Refuse to use an adapter on clips of another shape than it was trained on.

    Args:
        adapter: its folder; one made elsewhere does not say.
        clip_shape: (F, H, W) of the clips to generate.

    Raises:
        ValueError: naming both.
    """
    if not (adapter / MANIFEST_FILE).is_file():
        return
    clip = read_object(adapter / MANIFEST_FILE, {"clip": dict}, "export the adapter again")["clip"]
    names = ("num_frames", "height", "width")
    trained = tuple(clip.get(name, have) for name, have in zip(names, clip_shape, strict=True))
    if trained != clip_shape:
        remedy = " ".join(f"--data.{name} {value}" for name, value in zip(names, trained, strict=True))
        raise ValueError(
            f"adapter {adapter} was trained on clips of {trained[0]} frames of {trained[1]}x{trained[2]} pixels, got "
            f"{clip_shape[0]} of {clip_shape[1]}x{clip_shape[2]}; use {remedy}, or train on with `vdmfewshot fit`"
        )


def nothing_to_score(shots: int, unknown: int) -> str:
    """Why ``adapt`` cannot score, and what to do.

    Args:
        shots: labelled pairs, all of which train.
        unknown: inputs without an answer.
    """
    if not shots:
        return (
            f"none of {unknown} inputs has a target to learn from; add targets, or let an adapter of yours answer: "
            "`vdmfewshot predict --model.adapter FOLDER`"
        )
    remedy = f"{shots} pairs are shots; keep some with --data.shots {max(1, shots - 1)}, or use"
    if unknown or shots < 2:
        remedy = f"{unknown} inputs have no truth; use" if unknown else "there is one pair; use"
    return (
        f"adapt trains and then scores, but there is nothing to score: {remedy} `vdmfewshot fit`, then "
        "`vdmfewshot predict`"
    )
