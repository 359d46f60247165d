"""Latents are computed once per clip and kept by content, in memory and optionally on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from lightning.pytorch.utilities import rank_zero_warn
from safetensors import SafetensorError, safe_open
from torch import Tensor

from vdmfewshot.backbones.base import Latents
from vdmfewshot.clips.clip import ClipBatch
from vdmfewshot.storage.errors import StorageError
from vdmfewshot.storage.tensors import save_tensors

#: of the entries; another number makes old ones misses
FORMAT = 3
CONDITION = "condition."


def content_digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, types, shapes and values."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


class LatentCache:
    """Latents by the SHA-256 of the frames and the fingerprint of the encoder.

    Frames already hold codec, geometry, transition and augmentation: equal frames have equal latents. An entry on disk
    that is damaged, or not what its name says, is made again; without room on the disk there is the memory.

    Args:
        fingerprint: of the backbone's VAE; entries of another one are not used.
        folder: where entries are kept between runs; ``None`` keeps them in memory only.
    """

    def __init__(self, fingerprint: str, folder: Path | None = None) -> None:
        self.fingerprint = fingerprint
        self.folder = folder
        self._memory: dict[str, Latents] = {}

    def get(self, batch: ClipBatch, encode: Callable[[Tensor], Latents]) -> Latents:
        """Latents of a batch on its device; ``encode`` runs on the missing clips alone.

        Raises:
            ValueError: if two clips of the batch have latents of different shapes.
        """
        for digest in batch.digests:
            if digest not in self._memory and (stored := self._read(digest)) is not None:
                self._memory[digest] = stored
        for digest, frames in zip(batch.digests, batch.frames, strict=True):
            if digest not in self._memory:
                # One at a time: convolutions round differently in another batch, and a resumed run would see it.
                self._memory[digest] = encode(frames[None]).to("cpu")
                self._write(digest, self._memory[digest])
        return Latents.cat([self._memory[d] for d in batch.digests]).to(batch.frames.device)

    def _file(self, digest: str) -> Path | None:
        if self.folder is None:
            return None
        name = hashlib.sha256(f"{FORMAT}{digest}{self.fingerprint}".encode()).hexdigest()
        return self.folder / name[:2] / f"{name}.safetensors"

    def _read(self, digest: str) -> Latents | None:
        file = self._file(digest)
        if file is None or not file.is_file():
            return None
        try:
            with safe_open(file, framework="pt") as f:
                found = f.metadata() or {}
                tensors = {k: f.get_tensor(k) for k in f.keys()}  # noqa: SIM118 (no mapping)
            if found != self._metadata(digest, tensors):
                raise ValueError("its content is not what was written")
            x0 = tensors.pop("x0")
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            rank_zero_warn(f"latent cache entry {file} is damaged ({error}) and is made again")
            return None
        return Latents(x0, {k.removeprefix(CONDITION): v for k, v in tensors.items()})

    def _write(self, digest: str, latents: Latents) -> None:
        file = self._file(digest)
        if file is None:
            return
        tensors = {"x0": latents.x0, **{CONDITION + k: v for k, v in latents.condition.items()}}
        try:
            save_tensors(file, tensors, self._metadata(digest, tensors))
        except StorageError as error:
            rank_zero_warn(f"latents are kept in memory only: {error}")
            self.folder = None

    def _metadata(self, digest: str, tensors: Mapping[str, Tensor]) -> dict[str, str]:
        return {"frames": digest, "encoder": self.fingerprint, "content": content_digest(tensors)}

    def __len__(self) -> int:
        return len(self._memory)
