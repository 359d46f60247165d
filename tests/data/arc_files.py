"""Random ARC tasks in files, for the tests of the ARC data module."""

import json

import numpy as np

from vdmfewshot.data.arc import ArcDataModule


def grid(seed, shape):
    return np.random.default_rng(seed).integers(0, 10, shape).tolist()


def task(train=((3, 4), (5, 2), (4, 4)), test=((4, 3), (2, 2)), seed=0):
    """A random task whose outputs are the transposed inputs."""
    parts = {}
    for part, shapes in (("train", train), ("test", test)):
        inputs = [grid([seed, len(part), i], shape) for i, shape in enumerate(shapes)]
        parts[part] = [{"input": x, "output": np.array(x).T.tolist()} for x in inputs]
    return parts


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def ready(source, name="t", **kwargs):
    data = ArcDataModule(task=name, source=str(source), **({"height": 64, "width": 64} | kwargs))
    data.setup()
    return data
