"""Annotation files with anything anywhere: they are read, or refused in our own words, and nothing else."""

import copy
import json
import random

import pytest

from tests.data.coco_files import dogs, instances, people, pose
from tests.data.formats.exports import WRITERS
from tests.data.formats.test_readers import ready

ANYTHING = [
    *(None, True, False, -1, 0, 1, 2.5, 1e308, 2**70, 1e30, -5e9, "", "x", "7", "../../etc/passwd", "é" * 50),
    *([], {}, [[]], [None], {"a": 1}, [1, 2, 3]),
]


def places(value, place=()):
    """Paths to everything in nested lists and dictionaries."""
    yield place
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*place, key))


def damaged(content, rng):
    """A copy with one to four places removed, doubled or replaced by anything."""
    content = copy.deepcopy(content)
    for _ in range(rng.choice([1, 1, 2, 4])):
        place = rng.choice([p for p in places(content) if p] or [()])
        holder = content
        for key in place[:-1]:
            holder = holder[key]
        if not place:
            continue
        if isinstance(holder, dict) and rng.random() < 0.2:
            del holder[place[-1]]
        elif isinstance(holder, list) and rng.random() < 0.2:
            holder.append(copy.deepcopy(holder[place[-1]]))
        else:
            holder[place[-1]] = copy.deepcopy(rng.choice(ANYTHING))
    return content


def tried(read):
    """1 if something was read, 0 if it was refused with a reason; any other error passes through."""
    try:
        read()
    except ValueError as error:
        message = str(error)
    else:
        return 1
    assert message
    assert "Error(" not in message
    return 0


@pytest.mark.parametrize(("make", "read"), [(instances, dogs), (people, pose)])
def test_damaged_coco_files(tmp_path, make, read):
    content, rng, done = make(tmp_path), random.Random(0), 0
    for _ in range(60):
        (tmp_path / "ann.json").write_text(json.dumps(damaged(content, rng)))
        done += tried(lambda: read(tmp_path))
    assert 10 < done < 60


@pytest.mark.parametrize("name", ["labelme", "labelstudio", "coco"])
def test_damaged_json_exports(tmp_path, name):
    file = sorted(WRITERS[name](tmp_path).rglob("*.json"))[0]
    content, rng, done = json.loads(file.read_text()), random.Random(1), 0
    for _ in range(40):
        file.write_text(json.dumps(damaged(content, rng)))
        done += tried(lambda: ready(tmp_path, category="dog", format=name))
    assert 5 < done < 40


@pytest.mark.parametrize("name", ["yolo", "voc", "cvat"])
def test_damaged_text_exports(tmp_path, name):
    root = WRITERS[name](tmp_path)
    file = sorted([*root.rglob("*.txt"), *root.rglob("*.xml")])[0]
    text, rng, done = file.read_text(), random.Random(2), 0
    for _ in range(40):
        letters = list(text)
        for _ in range(rng.choice([1, 2, 5])):
            letters[rng.randrange(len(letters))] = rng.choice([*'0123456789.-eE é,;<>"\n', "", "9" * 9, "nan", "inf"])
        file.write_text("".join(letters))
        done += tried(lambda: ready(tmp_path, category="dog", format=name))
    assert 5 < done <= 40
