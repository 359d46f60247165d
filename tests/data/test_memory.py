"""Pairs that a program holds: every form of a picture gives the same pair, and what is wrong is said."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vdmfewshot.data.memory import as_rows, read_pair
from vdmfewshot.data.pairs import PairsDataModule
from vdmfewshot.data.readers import ImageReader, LabelReader, MaskReader

IMAGE = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
MASK = IMAGE[..., 0] > 100
LABELS = IMAGE[..., 1] % 3


def png(picture: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "png")
    return stream.getvalue()


def read(image: Any, target: Any, reader: Any) -> Any:
    return read_pair("a", image, target, reader, "black", "task")


@pytest.mark.parametrize(
    "image",
    [
        IMAGE,
        Image.fromarray(IMAGE),
        torch.from_numpy(IMAGE).permute(2, 0, 1),
        torch.from_numpy(IMAGE).permute(2, 0, 1) / 255,
        IMAGE / 255,
        IMAGE.astype(np.int64),
        np.dstack([IMAGE, np.full((6, 9), 255, np.uint8)]),
        {"bytes": png(IMAGE), "path": None},
    ],
    ids=["uint8", "PIL", "tensor", "unit tensor", "unit", "int64", "alpha", "encoded"],
)
def test_forms_of_an_input(image: Any) -> None:
    assert (read(image, IMAGE, ImageReader()).image == IMAGE).all()


@pytest.mark.parametrize(
    "mask",
    [MASK, MASK.astype(np.uint8), MASK * 255, MASK * 1.0, torch.from_numpy(MASK)[None], Image.fromarray(MASK)],
    ids=["bool", "0/1", "0/255", "float", "tensor", "PIL"],
)
def test_forms_of_a_mask(mask: Any) -> None:
    assert (read(IMAGE, mask, MaskReader()).target == MASK).all()


@pytest.mark.parametrize("labels", [LABELS, LABELS.astype(np.int64), torch.from_numpy(LABELS).long()])
def test_forms_of_a_label_map(labels: Any) -> None:
    assert (read(IMAGE, labels, LabelReader(3)).target == LABELS).all()


@pytest.mark.parametrize(
    ("image", "target", "message"),
    [
        (IMAGE * 1.0, MASK, r"input: values must be .*float64 from 0 to 249 \(divide by 255\?\)"),
        (IMAGE / np.nan, MASK, "input: values must be .*nan"),
        (IMAGE[None], MASK, "input: an array must be"),
        (torch.from_numpy(IMAGE), MASK, r"input: a tensor must be .*\(6, 9, 3\)"),
        (None, MASK, "input: a picture must be an array, .*NoneType"),
        (IMAGE, MASK[:3], "target: 9 x 3 pixels, its input 9 x 6"),
        (IMAGE, np.full((6, 9), 7, np.uint8), "target: values up to 7 are neither"),
        (IMAGE, "missing.png", "target: missing.png: no such file"),
    ],
)
def test_what_is_wrong_is_said(image: Any, target: Any, message: str) -> None:
    with np.errstate(all="ignore"), pytest.raises(ValueError, match=message):
        read(image, target, MaskReader())


def test_rows_of_a_table_are_pairs() -> None:
    assert as_rows([{"image": IMAGE, "mask": MASK}])[0][1] is MASK
    with pytest.raises(ValueError, match=r"got columns a, b, c at 0; .*zip\(rows"):
        as_rows([{"a": 1, "b": 2, "c": 3}])
    with pytest.raises(ValueError, match="got ndarray at 1"):
        as_rows([(IMAGE, MASK), IMAGE])


def test_a_data_set_of_hugging_face_gives_pairs() -> None:
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_dict({"image": [Image.fromarray(IMAGE)], "mask": [Image.fromarray(MASK)]})
    (row,) = as_rows(rows)
    assert (read(*row, MaskReader()).target == MASK).all()


def test_pairs_in_memory_are_those_of_a_folder(pairs_root: Path) -> None:
    files = [(pairs_root / f"input/p{i}.png", pairs_root / f"target/p{i}.png") for i in range(6)]
    size: dict[str, int] = {"height": 32, "width": 32}
    folder = PairsDataModule(str(pairs_root), shots=4, **size)
    memory = PairsDataModule.from_pairs([(Image.open(x), np.array(Image.open(y))) for x, y in files], shots=4, **size)
    for data in (folder, memory):
        data.setup()
    for ours, theirs in zip(
        [*memory.support, *memory.queries("test")], [*folder.support, *folder.queries("test")], strict=True
    ):
        assert (ours.image == theirs.image).all()
        assert (ours.target == theirs.target).all()
