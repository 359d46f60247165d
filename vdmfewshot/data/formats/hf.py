"""Hugging Face datasets: unpacked into folders of pairs, or into a COCO file where things are boxes.

The ``datasets`` library reads those on disk, and downloads those of the hub that are asked for by name; no code of a
data set is run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vdmfewshot.data.examples import DataError, LeftOut
from vdmfewshot.data.pictures import read_size
from vdmfewshot.data.survey import say

#: names of columns, in order of preference
INPUTS = ("image", "input", "img", "pixel_values", "source", "original")
TARGETS = ("mask", "label", "labels", "annotation", "segmentation", "segmentation_mask", "target", "edited", "output")
#: ``owner/name`` of a data set on the hub
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
OBJECTS = ("objects", "annotations")
PARTS = {"train": "train", "validation": "val", "valid": "val", "val": "val", "test": "test"}


def is_hf(root: Path) -> bool:
    """Whether a folder was written by ``save_to_disk``, or holds Parquet files."""
    markers = ("dataset_dict.json", "dataset_info.json")
    return any((root / name).is_file() for name in markers) or any(root.rglob("*.parquet"))


def is_hub_name(root: str) -> bool:
    """Whether this is ``owner/name`` of the hub, and no path that exists."""
    return HUB_NAME.fullmatch(root) is not None and not Path(root).exists()


def unpack(root: Path, folder: Path, left_out: list[LeftOut]) -> Path:
    """Write the pictures of a data set as ``folder/<part>/{input,target}/<row>``, or with a COCO file a part.

    Args:
        root: the data set: a folder, or its name on the hub.
        folder: an empty folder.
        left_out: is told of rows that lack a picture or a target.

    Returns:
        The folder.

    Raises:
        DataError: if the library is missing, or there is no column of pictures and one of targets.
    """
    for part, rows in _load(root).items():
        place = folder / PARTS.get(part, part) if part else folder
        features: Mapping[str, Any] = rows.features
        inputs = _column(features, INPUTS)
        targets = _column({k: f for k, f in features.items() if k != inputs}, TARGETS)
        objects = next((name for name in OBJECTS if name in features), None)
        if inputs is None or (targets is None and objects is None):
            shown = ", ".join(f"{name} ({type(feature).__name__})" for name, feature in features.items())
            raise DataError([f"{root}: needs a column of pictures and one of masks or boxes; there are {shown}"])
        if targets is not None:
            left_out += _write_pairs(rows, inputs, targets, place)
        elif objects is not None:
            left_out += _write_boxes(rows, inputs, objects, features, place)
    return folder


def _load(root: Path) -> dict[str, Any]:
    """Part → data set; the part is empty if there is only one."""
    try:
        import datasets  # half a second, and an extra of its own
    except ImportError as error:
        raise DataError(
            [f"{root}: is a Hugging Face dataset, which needs: pip install 'vdmfewshot[formats]'"]
        ) from error
    datasets.disable_progress_bars()
    try:
        if not root.exists():
            _ask_hub(root.as_posix())
            found = datasets.load_dataset(root.as_posix())
        elif any((root / name).is_file() for name in ("dataset_dict.json", "dataset_info.json")):
            found = datasets.load_from_disk(str(root))
        else:
            found = datasets.load_dataset("parquet", data_files=_parquet(root), cache_dir=str(root / ".cache"))
    except Exception as error:  # the library raises errors of its own and of its formats
        raise DataError([_why_not(root, error)]) from error
    parts: dict[str, Any] = dict(found) if isinstance(found, Mapping) else {"": found}
    return {"" if len(parts) == 1 else part: _undecoded(rows, datasets.Image) for part, rows in parts.items()}


def _ask_hub(name: str) -> None:
    """Ask once whether there is such a data set: ``datasets`` alone would try for a minute and print each attempt."""
    from huggingface_hub import HfApi, constants  # of datasets

    if not constants.HF_HUB_OFFLINE:
        HfApi().dataset_info(name, timeout=10)


def _why_not(root: Path, error: Exception) -> str:
    """What to say of a data set that cannot be loaded: of a folder what is wrong, of the hub what to try."""
    first = " ".join(str(error).split())[:300]
    if root.exists():
        return f"{root}: the datasets library cannot read it ({first})"
    return (
        f"{root.as_posix()}: neither a folder here (looked from {Path.cwd()}) nor loaded from the Hugging Face hub: no "
        f"such data set, a private one (huggingface-cli login), or no network (then download it elsewhere, "
        f"save_to_disk, and give the folder); the library says: {first}"
    )


def _parquet(root: Path) -> dict[str, list[str]]:
    files: dict[str, list[str]] = {}
    for file in sorted(root.rglob("*.parquet")):
        part = next((part for part in PARTS if part in file.stem or part in file.parent.name), "train")
        files.setdefault(part, []).append(str(file))
    return files


def _undecoded(rows: Any, image: Any) -> Any:
    """The data set with pictures as the bytes that were stored."""
    for name, feature in rows.features.items():
        if isinstance(feature, image):
            rows = rows.cast_column(name, image(decode=False))
    return rows


def _column(features: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """The column of pictures with the likeliest name."""
    pictures = [name for name, feature in features.items() if type(feature).__name__ == "Image"]
    return next((name for name in names if name in pictures), pictures[0] if len(pictures) == 1 else None)


def _write_pairs(rows: Any, inputs: str, targets: str, place: Path) -> list[LeftOut]:
    left_out = []
    for index, row in enumerate(rows):
        cells = {"input": _content(row[inputs]), "target": _content(row[targets])}
        if all(cells.values()):
            for kind, data in cells.items():
                _write(data, place / kind / f"{index:06d}")
        else:
            column = inputs if not cells["input"] else targets
            left_out.append(LeftOut(f"row {index}", f"nothing in its column {column!r}"))
    return left_out


def _content(cell: Any) -> bytes:
    """A picture's bytes; none if there is no picture."""
    known = cell if isinstance(cell, Mapping) else {}
    try:
        return known.get("bytes") or (Path(known["path"]).read_bytes() if known.get("path") else b"")
    except OSError:
        return b""


def _write(data: bytes, stem: Path) -> Path:
    """Write a picture's bytes under a suffix that fits them."""
    kinds = {b"\x89PNG": ".png", b"\xff\xd8": ".jpg", b"RIFF": ".webp", b"BM": ".bmp", b"II": ".tif", b"MM": ".tif"}
    suffix = next((suffix for head, suffix in kinds.items() if data.startswith(head)), ".gif")
    stem.parent.mkdir(parents=True, exist_ok=True)
    file = stem.with_name(stem.name + suffix)
    file.write_bytes(data)
    return file


def _write_boxes(rows: Any, inputs: str, objects: str, features: Mapping[str, Any], place: Path) -> list[LeftOut]:
    names, left_out = _class_names(features[objects]), []
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index, row in enumerate(rows):
        data = _content(row[inputs])
        if not data or not row[objects]:
            column = objects if data else inputs
            left_out.append(LeftOut(f"row {index}", f"nothing in its column {column!r}"))
            continue
        file = _write(data, place / "images" / f"{index:06d}")
        images.append({"id": index, "file_name": file.name})
        for box, category in _boxes(row[objects]):
            number = {"id": len(annotations), "image_id": index, "category_id": category, "bbox": box}
            annotations.append(number)
    _as_width_and_height(annotations, images, place / "images")
    known = sorted({a["category_id"] for a in annotations}, key=str)
    categories = [{"id": c, "name": names[c] if isinstance(c, int) and c < len(names) else str(c)} for c in known]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (place / "annotations.json").write_text(json.dumps(content))
    return left_out


def _as_width_and_height(annotations: list[dict[str, Any]], images: list[dict[str, Any]], folder: Path) -> None:
    """Boxes of two corners as x, y, width, height, where only that keeps all of them within their pictures."""
    sizes = {image["id"]: read_size(folder / image["file_name"]) for image in images}
    rows = [[*a["bbox"], *sizes[a["image_id"]][::-1]] for a in annotations if len(a["bbox"]) == 4]
    boxes = np.array(rows or np.zeros((0, 6)), dtype=np.float64)
    low, high, sides = boxes[:, :2], boxes[:, 2:4], boxes[:, 4:] + 1
    if (low + high <= sides).all() or not ((low < high) & (high <= sides)).all():
        return
    say("boxes are two corners each: with a width and a height they would reach beyond their pictures")
    for annotation in annotations:
        if len(annotation["bbox"]) == 4:
            x, y, right, bottom = annotation["bbox"]
            annotation["bbox"] = [x, y, right - x, bottom - y]


def _boxes(cell: Any) -> Iterator[tuple[Any, Any]]:
    """(box, category) of a row's things: a record of lists, or a list of records."""
    records = (
        cell
        if isinstance(cell, list)
        else [dict(zip(cell, values, strict=True)) for values in zip(*cell.values(), strict=False)]
    )
    for record in records:
        category = next((record[k] for k in ("category", "category_id", "label", "class") if k in record), "thing")
        box = record.get("bbox") or []
        yield list(box) if all(isinstance(v, int | float) for v in box) else [], category


def _class_names(feature: Any) -> list[str]:
    """Names of the classes of a column of things, if it tells."""
    inner = getattr(feature, "feature", feature)
    inner = inner[0] if isinstance(inner, list) else inner
    for name in ("category", "category_id", "label", "class"):
        label = inner.get(name) if isinstance(inner, Mapping) else None
        names = getattr(getattr(label, "feature", label), "names", None)
        if names:
            return list(names)
    return []
