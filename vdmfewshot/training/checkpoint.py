"""Atomic, checksummed Lightning checkpoints: the file at the given path is whole and verified, or not there."""

from __future__ import annotations

import hashlib
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_warn

from vdmfewshot.storage.atomic import flush, replacing, sweep
from vdmfewshot.storage.documents import Kind, misfit
from vdmfewshot.storage.errors import DamagedFileError

#: zip end-of-central-directory record: signature … comment length (the last two bytes), then the comment
_EOCD = b"PK\x05\x06"
_EOCD_SIZE = 22
_PREFIX = b"sha256:"
_COMMENT_SIZE = len(_PREFIX) + 64
#: what every checkpoint of a run holds
PARTS: dict[str, Kind] = {"state_dict": dict, "global_step": int, "pytorch-lightning_version": str}


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes to a temporary file beside the target, appends a SHA-256, flushes to disk, renames.

    ``torch.save`` writes a zip archive; the checksum is its zip comment, so that checksum and content are one file and
    plain ``torch.load`` still reads it. A file that is replaced is kept as ``previous-<name>`` and stands in for one
    that is damaged. Temporary files of killed writers are removed when a file of the folder is saved or loaded.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Save ``checkpoint`` at ``path``; a crash at any moment leaves the previous file as it was.

        Raises:
            StorageError: if it cannot be written (disk full); the previous file is still whole.
        """
        if storage_options is not None:
            raise TypeError("AtomicCheckpointIO takes no storage_options")
        target = Path(path)
        sweep(target.parent)
        with replacing(target) as draft:
            with draft.open("w+b") as stream:
                torch.save(checkpoint, stream)
                _append_checksum(stream)
            flush(draft)  # first whole, then the names
            _keep(target)

    def load_checkpoint(
        self, path: str | Path, map_location: Any | None = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Verify the checksum, then load tensors and plain values only (``weights_only=True``).

        Raises:
            FileNotFoundError: if there is no such file.
            DamagedFileError: if neither the file nor its predecessor is whole, or it is no checkpoint of a run.
        """
        sweep(Path(path).parent)
        file = usable(Path(path))
        try:
            checkpoint: dict[str, Any] = torch.load(file, map_location=map_location or "cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise DamagedFileError(f"{file} holds more than tensors and plain values, and is not loaded") from error
        if problem := misfit(checkpoint, PARTS):
            raise DamagedFileError(f"{file} is no checkpoint of a training run ({problem}); name a file that fit wrote")
        return checkpoint

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a checkpoint and its predecessor."""
        super().remove_checkpoint(path)
        previous(Path(path)).unlink(missing_ok=True)


def previous(file: Path) -> Path:
    """Where the checkpoint goes that ``file`` replaces."""
    return file.with_name(f"previous-{file.name}")


def _keep(file: Path) -> None:
    """Give a checkpoint that is about to be replaced its second name; it keeps the first until that moment."""
    if not file.is_file():
        return
    spare = file.with_name(f".{file.name}.spare")
    spare.unlink(missing_ok=True)
    try:
        os.link(file, spare)
        os.replace(spare, previous(file))
    except OSError:  # a file system without second names; `usable` finds the file under its new name
        os.replace(file, previous(file))


def usable(file: Path) -> Path:
    """The checkpoint itself, or its predecessor if it is damaged or missing.

    Raises:
        FileNotFoundError: if there is neither.
        DamagedFileError: if neither is whole.
    """
    try:
        verify(file)
        return file
    except (FileNotFoundError, DamagedFileError) as error:
        older = previous(file)
        if not older.is_file():
            raise
        verify(older)
        rank_zero_warn(f"{error}; going on from the one before it, {older}")
        return older


def _append_checksum(stream: Any) -> None:
    """Turn the SHA-256 of a comment-less zip into its comment."""
    stream.seek(0)
    digest = hashlib.file_digest(stream, "sha256").hexdigest()
    stream.seek(-_EOCD_SIZE, os.SEEK_END)
    if stream.read(4) != _EOCD:
        raise ValueError("torch.save did not end in a plain zip record")
    stream.seek(-2, os.SEEK_END)
    stream.write(struct.pack("<H", _COMMENT_SIZE) + _PREFIX + digest.encode())


def refuse_code(file: Path) -> None:
    """Read the structure of a checkpoint, as tensors and plain values: sharded strategies of Lightning unpickle.

    Raises:
        ValueError: naming the file, if it holds anything else.
    """
    try:
        torch.load(file, map_location="meta", weights_only=True, mmap=True)
    except Exception as error:
        raise ValueError(f"checkpoint {file} holds more than tensors and plain values; it is not loaded") from error


def verify(file: Path) -> None:
    """Compare a checkpoint with its checksum before anything is unpickled.

    Raises:
        FileNotFoundError: if there is no such file.
        DamagedFileError: naming the file, if it is damaged or not written by ``AtomicCheckpointIO``.
    """
    if not file.is_file():
        raise FileNotFoundError(f"no checkpoint at {file}")
    data = file.read_bytes()
    body, comment = data[:-_COMMENT_SIZE], data[-_COMMENT_SIZE:]
    if not comment.startswith(_PREFIX):
        raise DamagedFileError(f"checkpoint {file} is damaged or was not written by vdmfewshot: it has no checksum")
    digest = hashlib.sha256(body[:-2] + b"\x00\x00").hexdigest()
    if comment != _PREFIX + digest.encode() or body[-2:] != struct.pack("<H", _COMMENT_SIZE):
        raise DamagedFileError(
            f"checkpoint {file} is damaged: its content does not match its checksum; use an earlier one"
        )
