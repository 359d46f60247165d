"""Small exports of labelling tools: three pictures with a dog (a polygon or mask) and a cat (a polygon or box)."""

import base64
import io
import json

import numpy as np
from PIL import Image

from tests.data.folders import picture, save

SIZE = (60, 80)
DOG = [20, 10, 50, 10, 50, 30, 20, 30]
CAT = [2, 40, 12, 40, 12, 55, 2, 55]


def box_mask(polygon=DOG):
    mask = np.zeros(SIZE, bool)
    mask[polygon[1] : polygon[5], polygon[0] : polygon[2]] = True
    return mask


def pictures(folder, count=3):
    for i in range(count):
        save(folder / f"a{i}.png", picture(i, SIZE))
    return [f"a{i}.png" for i in range(count)]


def pairs_of(polygon):
    return [[polygon[i], polygon[i + 1]] for i in range(0, len(polygon), 2)]


def labelme(root):
    mask = box_mask()[10:30, 20:50]
    for name in pictures(root):
        buffer = io.BytesIO()
        Image.fromarray(mask).save(buffer, format="PNG")
        raster = base64.b64encode(buffer.getvalue()).decode()
        shapes = [
            {"label": "dog", "points": [[20, 10], [49, 29]], "shape_type": "mask", "mask": raster},
            {"label": "cat", "points": pairs_of(CAT), "shape_type": "polygon"},
            {"label": "nose", "points": [[3, 4]], "shape_type": "point"},
        ]
        content = {"version": "6.3.1", "shapes": shapes, "imagePath": f"..\\old\\{name}", "imageData": None}
        content |= {"imageHeight": 60, "imageWidth": 80}
        (root / name.replace("png", "json")).write_text(json.dumps(content))
    return root


def cvat(root):
    runs = ", ".join(map(str, [0, 600]))
    images = []
    for i, name in enumerate(pictures(root / "images")):
        cat = ";".join(f"{x}.00,{y}.00" for x, y in pairs_of(CAT))
        images.append(
            f'<image id="{i}" name="{name}" width="80" height="60">'
            f'<mask label="dog" rle="{runs}" left="20" top="10" width="30" height="20"/>'
            f'<polygon label="cat" points="{cat}"><attribute name="age">3</attribute></polygon>'
            '<points label="nose" points="3.0,4.0"/></image>'
        )
    (root / "annotations.xml").write_text(f"<annotations><version>1.1</version>{''.join(images)}</annotations>")
    return root


def labelstudio(root):
    tasks = []
    for i, name in enumerate(pictures(root / "images")):
        dog = [[x / 0.8, y / 0.6] for x, y in pairs_of(DOG)]
        cat = {"x": 2 / 0.8, "y": 40 / 0.6, "width": 10 / 0.8, "height": 15 / 0.6, "rotation": 0}
        size = {"original_width": 80, "original_height": 60, "image_rotation": 0}
        results = [
            {"type": "polygonlabels", "value": {"points": dog, "polygonlabels": ["dog"]}, **size},
            {"type": "rectanglelabels", "value": cat | {"rectanglelabels": ["cat"]}, **size},
            {"type": "choices", "value": {"choices": ["sharp"]}},
        ]
        data = {"image": f"/data/upload/7/0a1b2c3d-{name}" if i else f"/data/local-files/?d=images/{name}"}
        cancelled = {"was_cancelled": True, "result": []}
        tasks.append({"id": i, "data": data, "annotations": [cancelled, {"result": results}]})
    (root / "project.json").write_text(json.dumps(tasks))
    return root


def yolo(root):
    """Ultralytics' layout with a split."""
    for part in ("train", "val"):
        for name in pictures(root / "images" / part):
            lines = [[1, *(v / (60 if i % 2 else 80) for i, v in enumerate(DOG))]]
            lines += [[0, 7 / 80, 47.5 / 60, 10 / 80, 15 / 60]]
            label = root / "labels" / part / name.replace("png", "txt")
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text("\n".join(" ".join(map(str, line)) for line in lines))
        save(root / "images" / "val" / "a0.png", picture(9, SIZE))
        save(root / "images" / "val" / "a1.png", picture(8, SIZE))
        save(root / "images" / "val" / "a2.png", picture(7, SIZE))
    (root / "data.yaml").write_text(
        "path: /somewhere/else\ntrain: images/train\nval: images/val\nnames: {0: cat, 1: dog}\n"
    )
    return root


def voc(root):
    def child(tag, values):
        return f"<{tag}>" + "".join(f"<{k}>{v}</{k}>" for k, v in values.items()) + f"</{tag}>"

    for name in pictures(root / "JPEGImages"):
        dog = {f"{axis}{i + 1}": point[k] + 1 for i, point in enumerate(pairs_of(DOG)) for k, axis in enumerate("xy")}
        objects = f"<object><name>dog</name>{child('polygon', dog)}</object>"
        box = child("bndbox", {"xmin": 3, "ymin": 41, "xmax": 12, "ymax": 55})
        objects += f"<object><name>cat</name>{box}</object>"
        size = child("size", {"width": 80, "height": 60, "depth": 3})
        text = f"<annotation><filename>{name}</filename>{size}{objects}</annotation>"
        (root / "Annotations").mkdir(exist_ok=True)
        (root / "Annotations" / name.replace("png", "xml")).write_text(text)
    return root


def coco(root):
    """Roboflow's layout: a folder a part, with the file beside the pictures."""
    images, annotations = [], []
    for i, name in enumerate(pictures(root / "train")):
        images.append({"id": i, "file_name": name, "width": 80, "height": 60})
        for category, polygon in ((2, DOG), (1, CAT)):
            number = {"id": len(annotations), "image_id": i, "category_id": category, "segmentation": [polygon]}
            annotations.append(number)
    categories = [{"id": k, "name": name} for k, name in enumerate(("pets", "cat", "dog"))]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "train" / "_annotations.coco.json").write_text(json.dumps(content))
    return root


WRITERS = {"labelme": labelme, "cvat": cvat, "labelstudio": labelstudio, "yolo": yolo, "voc": voc, "coco": coco}
