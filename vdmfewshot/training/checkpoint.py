"""Atomic, checksummed Lightning checkpoints: the file at the given path is whole and verified, or not there."""

from __future__ import annotations

import hashlib
import os
import struct
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from vdmfewshot.storage.atomic import replacing

#: zip end-of-central-directory record: signature … comment length (the last two bytes), then the comment
_EOCD = b"PK\x05\x06"
_EOCD_SIZE = 22
_PREFIX = b"sha256:"
_COMMENT_SIZE = len(_PREFIX) + 64


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes to a temporary file beside the target, appends a SHA-256, flushes to disk, renames.

    ``torch.save`` writes a zip archive; the checksum is its zip comment, so that checksum and content are one file and
    plain ``torch.load`` still reads it. Temporary files of killed writers are removed at the next save.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Save ``checkpoint`` at ``path``; a crash at any moment leaves the previous file as it was.

        Raises:
            OSError: if it cannot be written (disk full); the previous file is still whole.
        """
        if storage_options is not None:
            raise TypeError("AtomicCheckpointIO takes no storage_options")
        target = Path(path)
        for orphan in target.parent.glob(f".{target.name}.*.tmp"):
            orphan.unlink(missing_ok=True)
        with replacing(target) as draft, draft.open("w+b") as stream:
            torch.save(checkpoint, stream)
            _append_checksum(stream)

    def load_checkpoint(
        self, path: str | Path, map_location: Any | None = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Verify the checksum, then load tensors and plain values only (``weights_only=True``).

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if the content is damaged or carries no checksum.
        """
        verify(Path(path))
        checkpoint: dict[str, Any] = torch.load(path, map_location=map_location or "cpu", weights_only=True)
        return checkpoint


def _append_checksum(stream: Any) -> None:
    """Turn the SHA-256 of a comment-less zip into its comment."""
    stream.seek(0)
    digest = hashlib.file_digest(stream, "sha256").hexdigest()
    stream.seek(-_EOCD_SIZE, os.SEEK_END)
    if stream.read(4) != _EOCD:
        raise ValueError("torch.save did not end in a plain zip record")
    stream.seek(-2, os.SEEK_END)
    stream.write(struct.pack("<H", _COMMENT_SIZE) + _PREFIX + digest.encode())


def verify(file: Path) -> None:
    """Compare a checkpoint with its checksum before anything is unpickled.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: naming the file, if it is damaged or not written by ``AtomicCheckpointIO``.
    """
    if not file.is_file():
        raise FileNotFoundError(f"no checkpoint at {file}")
    data = file.read_bytes()
    body, comment = data[:-_COMMENT_SIZE], data[-_COMMENT_SIZE:]
    if not comment.startswith(_PREFIX) or len(body) < _EOCD_SIZE:
        raise ValueError(f"checkpoint {file} is damaged or was not written by vdmfewshot: it has no checksum")
    digest = hashlib.sha256(body[:-2] + b"\x00\x00").hexdigest()
    if comment != _PREFIX + digest.encode() or body[-2:] != struct.pack("<H", _COMMENT_SIZE):
        raise ValueError(f"checkpoint {file} is damaged: its content does not match its checksum; use an earlier one")
