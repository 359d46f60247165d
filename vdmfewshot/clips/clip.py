"""The three things that travel through the project: a labelled pair, its clip, and a batch of clips."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Pair:
    """One labelled example as a dataset yields it, before any encoding.

    Attributes:
        key: stable name, unique within its data set, safe as a file name: letters, digits, ``._-``.
        image: (h, w, 3) uint8 RGB input of any size.
        target: label in the codec's own type, in source pixels; ``None`` for a query without truth.
        meta: plain values that a codec or metric needs (a person's area in pixels, a task's name).
    """

    key: str
    image: NDArray[np.uint8]
    target: Any | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Reject anything but uint8 RGB and file-name-safe keys.

        Raises:
            ValueError: naming the rule and the value.
        """
        if self.image.dtype != np.uint8 or self.image.ndim != 3 or self.image.shape[2] != 3:
            raise ValueError(
                f"{self.key}: image must be (h, w, 3) uint8 RGB, got {self.image.shape} {self.image.dtype}"
            )
        if not self.key or not all(c.isalnum() or c in "._-" for c in self.key) or self.key.startswith("."):
            raise ValueError(f"key must be letters, digits and ._- and not start with a dot, got {self.key!r}")


@dataclass(frozen=True)
class Clip:
    """A pair as video: input image → target image, or the input alone when there is no target.

    Attributes:
        frames: (F, 3, H, W) float32 in [-1, 1]; F is 1 for a query without target.
        pair: where it came from (truth for the scorer; never seen by the backbone).
        ordinal: position of this draw in the run's stream of training samples; -1 outside training.
        digest: SHA-256 of the frames, the key under which latents are cached; computed where it is not given.
        task: name of the task in a stack of several; "" where there is only one.
    """

    frames: Tensor
    pair: Pair
    ordinal: int = -1
    digest: str = ""
    task: str = ""

    def __post_init__(self) -> None:
        """Hash the frames, unless this is a copy of a clip that has been hashed."""
        if not self.digest:
            header = f"{tuple(self.frames.shape)}".encode()
            digest = hashlib.sha256(header + self.frames.numpy().tobytes()).hexdigest()
            object.__setattr__(self, "digest", digest)


@dataclass(frozen=True)
class ClipBatch:
    """A batch of clips of equal shape. Never mutated: steps return a new one.

    Attributes:
        frames: (B, F, 3, H, W) float32 in [-1, 1]; frame 0 is the input image.
        pairs: the B pairs behind it.
        ordinals: B positions in the training stream (-1 outside training).
        digests: B content hashes of the frames.
        generated: (B, K, F', 3, H, W) float32 in [-1, 1], K attempts at what follows frame 0; ``None`` before
            prediction. F' may exceed F (see ``backbones``), or be 1 if nothing else was decoded; the answer is the last
            frame.
        latents: (B, K, T, C, h, w) what ``generated`` was decoded from; ``None`` before prediction.
        tasks: B names of tasks in a stack of several; "" each where there is only one.
        views: versions in which each query was asked; the first K / views attempts are at the query itself.
    """

    frames: Tensor
    pairs: tuple[Pair, ...]
    ordinals: tuple[int, ...]
    digests: tuple[str, ...]
    generated: Tensor | None = None
    latents: Tensor | None = None
    tasks: tuple[str, ...] = ()
    views: int = 1

    def __post_init__(self) -> None:
        """Check shapes once, where the batch is made.

        Raises:
            ValueError: if frames are not (B, F, 3, H, W) floating point or the lists do not have B entries.
        """
        if self.frames.ndim != 5 or self.frames.shape[2] != 3 or not self.frames.is_floating_point():
            raise ValueError(f"frames must be floating point (B, F, 3, H, W), got {tuple(self.frames.shape)}")
        object.__setattr__(self, "tasks", self.tasks or ("",) * len(self.pairs))
        lengths = {len(self.pairs), len(self.ordinals), len(self.digests), len(self.tasks), len(self.frames)}
        if len(lengths) != 1:
            raise ValueError(
                f"pairs, ordinals, digests, tasks and frames must have the same length, got {sorted(lengths)}"
            )

    def __len__(self) -> int:
        return len(self.pairs)

    def to(self, device: torch.device | str) -> ClipBatch:
        """The same batch with its tensors on ``device``; Lightning moves anything that has this method."""
        generated = None if self.generated is None else self.generated.to(device)
        latents = None if self.latents is None else self.latents.to(device)
        return replace(self, frames=self.frames.to(device), generated=generated, latents=latents)

    @property
    def first_frame(self) -> Tensor:
        """(B, 3, H, W) input images in [-1, 1]."""
        return self.frames[:, 0]

    def by_task(self) -> dict[str, ClipBatch]:
        """The samples of each task as a batch of their own, in the order in which tasks appear."""
        rows: dict[str, list[int]] = {}
        for i, task in enumerate(self.tasks):
            rows.setdefault(task, []).append(i)
        return {task: self.select(indices) for task, indices in rows.items()}

    def select(self, rows: list[int]) -> ClipBatch:
        """Some of the samples, in the given order."""
        return ClipBatch(
            frames=self.frames[rows],
            pairs=tuple(self.pairs[i] for i in rows),
            ordinals=tuple(self.ordinals[i] for i in rows),
            digests=tuple(self.digests[i] for i in rows),
            generated=None if self.generated is None else self.generated[rows],
            latents=None if self.latents is None else self.latents[rows],
            tasks=tuple(self.tasks[i] for i in rows),
            views=self.views,
        )


def collate(clips: Sequence[Clip]) -> ClipBatch:
    """Stack clips into a batch (the ``collate_fn`` of every loader).

    Raises:
        ValueError: if the clips differ in frame count or size.
    """
    shapes = {tuple(clip.frames.shape) for clip in clips}
    if len(shapes) != 1:
        raise ValueError(f"clips of one batch must have one shape, got {sorted(shapes)}")
    return ClipBatch(
        frames=torch.stack([clip.frames for clip in clips]),
        pairs=tuple(clip.pair for clip in clips),
        ordinals=tuple(clip.ordinal for clip in clips),
        digests=tuple(clip.digest for clip in clips),
        tasks=tuple(clip.task for clip in clips),
    )


def to_frame(image: NDArray[np.uint8]) -> Tensor:
    """(H, W, 3) uint8 → (3, H, W) float32 in [-1, 1].

    Divides and shifts in the same order as diffusers' ``VideoProcessor``, so that both give the same bits.
    """
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float() / 255.0 * 2.0 - 1.0


def to_image(frame: Tensor) -> NDArray[np.float32]:
    """(3, H, W) in [-1, 1] → (H, W, 3) float32 in [0, 255], clipped, not rounded: decoders want the fractions.

    NaN becomes 0, so that one NaN in a generated frame costs its own sample only.
    """
    image = frame.detach().float().cpu().clamp(-1, 1).nan_to_num(nan=-1.0)
    array: NDArray[np.float32] = ((image + 1.0) * 127.5).permute(1, 2, 0).contiguous().numpy()
    return array
