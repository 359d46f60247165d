"""Label Studio: one JSON file of tasks, in percent of the picture (JSON and JSON-MIN exports)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse

import numpy as np
from numpy.typing import NDArray

from vdmfewshot.data.coco import BROKEN, numbers, read_json
from vdmfewshot.data.examples import DataError, LeftOut
from vdmfewshot.data.files import files_below
from vdmfewshot.data.formats.finding import Pictures
from vdmfewshot.data.formats.things import Export, Reading, Size, Thing, ellipse, run_length, turned_about
from vdmfewshot.data.pictures import SUFFIXES, read_size

#: where the labels of results stand that have an area; ``labels`` are those of any shape
KINDS = ("polygonlabels", "rectanglelabels", "ellipselabels", "brushlabels", "bitmasklabels", "labels")
#: why results are left out
TURNED = "its picture was turned in Label Studio: places are those of the turned one; turn the file, and label again"
SPARE = "another annotation of a picture, of which the ground truth, or else the first, is used"


def is_labelstudio(content: Any) -> bool:
    """Whether a JSON file is an export of Label Studio."""
    if not isinstance(content, list) or not content or not isinstance(content[0], Mapping):
        return False
    return "annotations" in content[0] or "annotation_id" in content[0]


def read_labelstudio(root: Path) -> Export:
    """Pictures and things of a folder with an export and its pictures."""
    export = Export()
    for place, task, picture, size in annotated_tasks(root, export):
        things = list(_things(results_of(task), place, size, export))
        export.add(picture, picture.relative_to(root).with_suffix("").as_posix(), things, None)
    return export


def annotated_tasks(root: Path, found: Reading) -> Iterator[tuple[str, Any, Path, Size]]:
    """Tasks with their place in words, picture and (height, width); ``found`` is told of those without a picture."""
    pictures = Pictures(root)
    for file in files_below(root, ".json"):
        try:
            content = read_json(file)
        except DataError:
            found.left_out.append(LeftOut(file.name, BROKEN))
            continue
        for index, task in enumerate(content if is_labelstudio(content) else []):
            place = f"{file.name}: task {task.get('id', index) if isinstance(task, Mapping) else index}"
            try:
                picture = picture_of(task, pictures)
                size = read_size(picture)
            except ValueError as error:
                found.problems.append(f"{place}: {error}")
            else:
                found.left_out += [LeftOut(place, SPARE)] * (len(annotations_of(task)) - 1)
                yield place, task, picture, size


def picture_of(task: Any, pictures: Pictures) -> Path:
    """The picture that a task's data name: an upload with eight digits before its name, a local file, or a URL."""
    data = task.get("data", task) if isinstance(task, Mapping) else {}
    texts = [v for v in data.values() if isinstance(v, str)] if isinstance(data, Mapping) else []
    for text in texts:
        url = urlparse(text)
        path = parse_qs(url.query).get("d", [unquote(url.path)])[0] if "local-files" in url.path else unquote(url.path)
        name = path.replace("\\", "/").rpartition("/")[2]
        if "." + name.rpartition(".")[2].lower() in SUFFIXES:
            try:
                return pictures.find(path)
            except ValueError:
                head, dash, rest = name.partition("-")
                if dash and len(head) == 8:
                    return pictures.find(rest)
                raise
    raise ValueError("names no picture")


def results_of(task: Mapping[str, Any]) -> list[Any]:
    """Results of the annotation to use: the one marked as ground truth, else the first."""
    if "annotations" in task:
        done = sorted(annotations_of(task), key=lambda annotation: not annotation.get("ground_truth"))
        results = done[0].get("result", []) if done else []
        return results if isinstance(results, list) else []
    return [item for value in task.values() if isinstance(value, list) for item in value]


def annotations_of(task: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Annotations of a task that were not cancelled."""
    given = task.get("annotations")
    found = given if isinstance(given, list) else []
    return [a for a in found if isinstance(a, Mapping) and not a.get("was_cancelled")]


def _things(results: list[Any], place: str, size: Size, export: Export) -> Iterator[Thing]:
    for index, result in enumerate(results):
        where = f"{place}, result {index}"
        value = result.get("value", result) if isinstance(result, Mapping) else {}
        kind = next((k for k, v in value.items() if k in KINDS and v), None) if isinstance(value, Mapping) else None
        if kind is None:
            continue
        try:
            yield _thing(result, value, kind, where, size)
        except (ValueError, TypeError, KeyError) as error:
            reason = str(error) if type(error) is ValueError else f"it lacks what a result of {kind} has"
            export.left_out.append(LeftOut(where, reason))


def _thing(result: Mapping[str, Any], value: Mapping[str, Any], kind: str, place: str, size: Size) -> Thing:
    stated = (result.get("original_height"), result.get("original_width"))
    if None not in stated and stated != size:
        raise ValueError(f"it was drawn on {stated[1]} x {stated[0]} pixels, its picture has {size[1]} x {size[0]}")
    if result.get("image_rotation"):
        raise ValueError(TURNED)
    if kind == "bitmasklabels":
        raise ValueError("bitmasks of Label Studio are not read; draw with its brush, or export as COCO")
    label = str(value[kind][0])
    height, width = size
    if "rle" in value:
        return Thing(label, place, outline=run_length(brush(numbers(value["rle"]), size)))
    if "points" in value or kind == "polygonlabels":
        points = [numbers(point) for point in value["points"]]
        return Thing(label, place, outline=[[v / 100 * s for x, y in points for v, s in ((x, width), (y, height))]])
    x, y, degrees = float(value["x"]) / 100 * width, float(value["y"]) / 100 * height, float(value.get("rotation") or 0)
    if "radiusX" in value:
        rx, ry = float(value["radiusX"]) / 100 * width, float(value["radiusY"]) / 100 * height
        return Thing(label, place, outline=[ellipse(x, y, rx, ry, degrees)])
    w, h = float(value["width"]) / 100 * width, float(value["height"]) / 100 * height
    if not degrees:
        return Thing(label, place, box=(x, y, w, h))
    corners = np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]])
    return Thing(label, place, outline=[turned_about(corners, (x, y), degrees)])


def brush(code: list[float], size: Size) -> NDArray[np.bool_]:
    """Label Studio's run-length code of a brush: (h, w) bool, where the opacity of its RGBA picture is above 0.

    The code is a string of bits: 32 for the number of values, 5 for their size less 1, four times 4 for the sizes of
    run lengths less 1; then runs: one bit whether its value is repeated, two for the size of its length, the length
    less 1, and one value or as many.

    Raises:
        ValueError: if it is damaged or of another size.
    """
    if any(not 0 <= byte < 256 or byte % 1 for byte in code):
        raise ValueError("its brush is no string of bytes")
    text = "".join(f"{int(byte):08b}" for byte in code)
    place = 0

    def take(count: int) -> int:
        nonlocal place
        if place + count > len(text):
            raise ValueError("its brush ends too early")
        place += count
        return int(text[place - count : place], 2)

    total, word, lengths = take(32), take(5) + 1, [take(4) + 1 for _ in range(4)]
    if total != size[0] * size[1] * 4:
        raise ValueError("its brush is of another size than its picture")
    values: list[int] = []
    while len(values) < total:
        repeated = take(1)
        count = take(lengths[take(2)]) + 1
        values += [take(word)] * count if repeated else [take(word) for _ in range(count)]
    return np.array(values[:total]).reshape(*size, 4)[..., 3] > 0
