"""Small exports of labelling tools with joints: two pictures with two people each, in every format the same."""

import json

from tests.data.folders import picture, save

SIZE = (60, 80)
NAMES = ["nose", "left_hand", "right_hand"]
#: joints by name, and box x, y, width, height; the second person's right hand is not labelled
PEOPLE = [
    ({"nose": (20, 10), "left_hand": (26, 22), "right_hand": (12, 24)}, (8, 6, 24, 30)),
    ({"nose": (60, 20), "left_hand": (66, 34)}, (50, 14, 24, 36)),
]


def pictures(folder, count=2):
    for i in range(count):
        save(folder / f"a{i}.png", picture(i, SIZE))
    return [f"a{i}.png" for i in range(count)]


def coco(root):
    names = pictures(root)
    annotations = [
        {"id": 10 * i + k, "image_id": i, "category_id": 1, "bbox": list(box), "iscrowd": 0,
         "keypoints": [v for n in NAMES for v in ((*joints[n], 2) if n in joints else (0, 0, 0))]}
        for i in range(len(names)) for k, (joints, box) in enumerate(PEOPLE)
    ]  # fmt: skip
    images = [{"id": i, "file_name": name, "height": 60, "width": 80} for i, name in enumerate(names)]
    content = {"images": images, "annotations": annotations}
    content["categories"] = [{"id": 1, "name": "person", "keypoints": NAMES, "skeleton": []}]
    (root / "people.json").write_text(json.dumps(content))
    return root


def yolo(root, values=3):
    for name in pictures(root / "images"):
        lines = []
        for joints, (x, y, w, h) in PEOPLE:
            row = [(x + w / 2) / 80, (y + h / 2) / 60, w / 80, h / 60]
            for joint in NAMES:
                px, py = joints.get(joint, (0, 0))
                row += [px / 80, py / 60, *([2 if joint in joints else 0] if values == 3 else [])]
            lines.append(" ".join(["0", *(f"{v:.8f}" for v in row)]))
        (root / "labels").mkdir(exist_ok=True)
        (root / "labels" / name.replace("png", "txt")).write_text("\n".join(lines))
    text = f"names: {{0: person}}\nkpt_shape: [3, {values}]\nflip_idx: [0, 2, 1]\nkpt_names: {{0: {NAMES}}}\n"
    (root / "data.yaml").write_text(text)
    return root


def labelme(root):
    for name in pictures(root):
        shapes = []
        for group, (joints, (x, y, w, h)) in enumerate(PEOPLE, 1):
            box = {"label": "person", "points": [[x + w, y + h], [x, y]], "group_id": group, "shape_type": "rectangle"}
            shapes.append(box)
            for joint, point in joints.items():
                shapes.append({"label": joint, "points": [list(point)], "group_id": group, "shape_type": "point"})
        content = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": name, "imageData": None}
        content |= {"imageHeight": 60, "imageWidth": 80}
        (root / name.replace("png", "json")).write_text(json.dumps(content))
    return root


def cvat(root):
    """Skeletons have no box of their own in CVAT."""
    labels = "".join(f"<label><name>{n}</name><type>points</type><parent>person</parent></label>" for n in NAMES)
    images = []
    for i, name in enumerate(pictures(root / "images")):
        people = ""
        for joints, _ in PEOPLE:
            points = "".join(
                f'<points label="{n}" source="manual" outside="{int(n not in joints)}" occluded="0" '
                f'points="{joints.get(n, (0, 0))[0]:.2f},{joints.get(n, (0, 0))[1]:.2f}"></points>'
                for n in reversed(NAMES)
            )
            people += f'<skeleton label="person" source="manual" z_order="0">{points}</skeleton>'
        images.append(f'<image id="{i}" name="{name}" width="80" height="60">{people}</image>')
    meta = f"<meta><task><labels><label><name>person</name><type>skeleton</type></label>{labels}</labels></task></meta>"
    body = f"<annotations><version>1.1</version>{meta}{''.join(images)}</annotations>"
    (root / "annotations.xml").write_text(f'<?xml version="1.0" encoding="utf-8"?>\n{body}')
    return root


def labelstudio(root):
    tasks = []
    for i, name in enumerate(pictures(root / "images")):
        results = []
        for k, (joints, (x, y, w, h)) in enumerate(PEOPLE):
            shape = {"original_width": 80, "original_height": 60, "image_rotation": 0, "to_name": "image"}
            value = {"x": x / 0.8, "y": y / 0.6, "width": w / 0.8, "height": h / 0.6, "rotation": 0}
            box = {"id": f"b{k}", "type": "rectanglelabels", "value": value | {"rectanglelabels": ["person"]}}
            results.append(shape | box)
            for joint, (px, py) in joints.items():
                value = {"x": px / 0.8, "y": py / 0.6, "width": 0.4, "keypointlabels": [joint]}
                point = {"id": f"k{k}{joint}", "parentID": f"b{k}", "type": "keypointlabels", "value": value}
                results.append(shape | point)
        data = {"image": f"/data/upload/1/1a2b3c4d-{name}"}
        tasks.append({"id": i, "data": data, "annotations": [{"id": i, "was_cancelled": False, "result": results}]})
    (root / "export.json").write_text(json.dumps(tasks))
    return root


EXPORTS = {"coco": coco, "yolo": yolo, "labelme": labelme, "cvat": cvat, "labelstudio": labelstudio}
