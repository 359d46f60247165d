"""COCO files of random pictures, for the tests of the COCO data modules."""

import json

import numpy as np
from pycocotools import mask as coco_mask

from tests.data.folders import picture, save
from vdmfewshot.data.pose import CocoPoseDataModule
from vdmfewshot.data.segmentation import CocoInstancesDataModule

NAMES = [
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
]  # fmt: skip
SIZE = (40, 50)


def run_length(mask, packed):
    code = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    if packed:
        return {"size": code["size"], "counts": code["counts"].decode()}
    flat, counts, value = mask.ravel(order="F"), [], False
    run = 0
    for pixel in flat:
        if bool(pixel) != value:
            counts.append(run)
            run, value = 0, not value
        run += 1
    return {"size": list(mask.shape), "counts": [*counts, run]}


def instances(folder, count=4):
    """Each image: a polygon dog, a run-length dog, a packed crowd dog and a cat."""
    images, annotations = [], []
    blob = np.zeros(SIZE, bool)
    blob[25:35, 30:45] = True
    crowd = np.zeros(SIZE, bool)
    crowd[2:5, 2:40] = True
    for i in range(1, count + 1):
        save(folder / "images" / f"{i}.png", picture(i, SIZE))
        images.append({"id": i, "file_name": f"{i}.png", "height": SIZE[0], "width": SIZE[1]})
        shapes = [
            (18, [[5.0, 10.0, 20.0, 10.0, 20.0, 20.0 + i, 5.0, 20.0 + i]], 0),
            (18, run_length(blob, packed=False), 0),
            (18, run_length(crowd, packed=True), 1),
            (17, [[0.0, 0.0, 50.0, 0.0, 50.0, 40.0]], 0),
        ]
        for category, segmentation, is_crowd in shapes:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": i,
                    "category_id": category,
                    "segmentation": segmentation,
                    "iscrowd": is_crowd,
                    "bbox": [0, 0, 1, 1],
                    "area": 1,
                }
            )
    images.append({"id": 99, "file_name": "empty.png", "height": 4, "width": 4})
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 17, "name": "cat"}, {"id": 18, "name": "dog"}],
    }


def write(folder, content, name="ann.json"):
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def dogs(folder, **kwargs):
    arguments = {"category": "dog", "height": 32, "width": 32} | kwargs
    data = CocoInstancesDataModule(str(folder / "images"), str(folder / "ann.json"), **arguments)
    data.setup("fit")
    return data


def skeleton(seed, low=8, high=32):
    points = np.random.default_rng(seed).uniform(low, high, (17, 2))
    seen = np.random.default_rng(seed).integers(0, 3, 17)
    seen[0] = 2
    return np.column_stack([points * (seen > 0)[:, None], seen])


def people(folder, count=5):
    images, annotations = [], []
    for i in range(1, count + 1):
        save(folder / "images" / f"p{i}.png", picture(i, SIZE))
        images.append({"id": i, "file_name": f"p{i}.png", "height": SIZE[0], "width": SIZE[1]})
        annotations.append(
            {
                "id": 10 + i,
                "image_id": i,
                "category_id": 1,
                "keypoints": skeleton(i).ravel().tolist(),
                "bbox": [8, 6, 20, 30],
                "area": 321.5,
                "iscrowd": 0,
            }
        )
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person", "keypoints": NAMES}],
    }


def pose(folder, **kwargs):
    arguments = {"height": 48, "width": 48} | kwargs
    data = CocoPoseDataModule(str(folder / "images"), str(folder / "ann.json"), **arguments)
    data.setup("fit")
    return data
