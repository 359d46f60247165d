"""The model card of an adapter that is shared: what it does, how well, where that was measured, and how to load it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from vdmfewshot import __version__
from vdmfewshot.backbones.checkpoint import EMBEDDED
from vdmfewshot.cli.pages import tables
from vdmfewshot.lora.adapters import DIFFUSERS_FILE, Manifest
from vdmfewshot.storage.hub import HubName

#: what a codec's frame means to a person
ANSWERS = {
    "ImageCodec": "a picture",
    "MaskCodec": "a black-and-white mask",
    "LabelMapCodec": "a map of classes",
    "KeypointCodec": "the joints of a person",
    "GridCodec": "a grid of coloured cells",
    "AnswerCodec": "a class",
    "DepthCodec": "distances",
    "NormalCodec": "directions of surfaces",
}
#: settings that tell how an adapter was made: heading, and place in ``config.yaml``
MADE = {
    "data": "data.class_path",
    "root": "data.init_args.root",
    "task": "data.init_args.task",
    "labelled pairs that trained (shots)": "data.init_args.shots",
    "which pairs (support seed)": "data.init_args.support_seed",
    "steps": "trainer.max_steps",
    "rank": "model.init_args.lora.rank",
    "seed": "seed_everything",
    "precision": "trainer.precision",
    "revision of the model": "model.init_args.backbone.init_args.revision",
}


@dataclass(frozen=True)
class Told:
    """What a card is written from.

    Attributes:
        name: of the repository.
        manifest: of the adapter.
        config: its ``LoraConfig``.
        scores: content of ``scores.json``; ``None`` if it was not tested.
        settings: of the run; ``None`` if unknown.
        picture: file within the repository that shows test pictures; ``None`` for none.
    """

    name: HubName
    manifest: Manifest
    config: Mapping[str, Any]
    scores: Mapping[str, Any] | None = None
    settings: Mapping[str, Any] | None = None
    picture: str | None = None


def model_card(told: Told, license: Mapping[str, str | None]) -> str:
    """The README of a repository: YAML that the Hub reads, then Markdown.

    Args:
        told: what is known.
        license: ``license``, and ``name`` and ``link`` of one that is ``other``.
    """
    parts = [_front(told, license), _what(told), _how_well(told), _use(told), _made(told)]
    return "\n".join(part for part in parts if part)


def is_shipped(manifest: Manifest) -> bool:
    """Whether the adapter's model is the one within vdmfewshot, which diffusers cannot find."""
    return bool(manifest.backbone["path"] == EMBEDDED)


def _front(told: Told, license: Mapping[str, str | None]) -> str:
    shipped = is_shipped(told.manifest)
    data = ModelCardData(
        license=license["license"], license_name=license["name"], license_link=license["link"],
        base_model=None if shipped else told.manifest.backbone["path"],
        base_model_relation=None if shipped else "adapter",
        library_name="vdmfewshot" if shipped else "diffusers",
        pipeline_tag="image-to-video",
        tags=["vdmfewshot", "lora", "peft", "few-shot"],
        model_name=told.name.repo.partition("/")[2] if told.scores else None,
        eval_results=list(_results(told)) or None,
    )  # fmt: skip
    return f"---\n{data.to_yaml()}\n---\n"


def _results(told: Told) -> Iterator[EvalResult]:
    """The main score, as the Hub lists it beside the card."""
    if told.scores is None:
        return
    main = told.scores["main"]
    row, task = told.scores["scores"][main], told.manifest.task
    if row["score"] is not None:
        yield EvalResult(
            task_type="image-to-image", task_name=task, dataset_type="custom", dataset_name=f"{task} (test)",
            metric_type=main, metric_name=main, metric_value=round(float(row["score"]), 4),
        )  # fmt: skip


def _what(told: Told) -> str:
    manifest, clip = told.manifest, told.manifest.clip
    codec = manifest.codec["name"]
    model = "the small video model that ships with vdmfewshot" if is_shipped(manifest) else manifest.backbone["path"]
    picture = ""
    if told.picture is not None:
        caption = "Test pictures: input, generated, decoded, truth, error."
        picture = f"\n![{caption}]({told.picture})\n\n{caption} None of them trained the adapter.\n"
    text = f"""A LoRA adapter (rank {told.config["r"]}, alpha {told.config["lora_alpha"]:g}) for {model}: the model
    itself stays as it is and, with the adapter, answers a picture with {ANSWERS.get(codec, "a picture")}. Learned from
    a handful of labelled pairs with vdmfewshot {__version__}. The answer is the last of {clip["num_frames"]} generated
    frames of {clip["height"]}x{clip["width"]} pixels, read by its `{codec}`."""
    return f"# {manifest.task}\n\n{textwrap.fill(' '.join(text.split()), 110, break_on_hyphens=False)}\n{picture}"


def _how_well(told: Told) -> str:
    if told.scores is None:
        return "## Scores\n\nNothing was tested in the run that this adapter comes from.\n"
    main, scores = told.scores["main"], told.scores["scores"]
    heads = ("score", "value", "95 % interval", "ceiling", "copy-input", "mean-target", "n")
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for name in sorted(scores, key=lambda name: name != main):
        row = scores[name]
        cells = [f"**{name}**" if name == main else name, tables.number(row["score"]), tables.interval(row)]
        cells += [tables.number(row.get(key)) for key in ("ceiling", "copy_input", "mean_target")]
        lines.append("| " + " | ".join([*cells, f"{row['n']}/{row['n_expected']}"]) + " |")
    table = "\n".join(lines)
    return f"""## Scores

On test pictures that did not train it, after {told.scores["step"]} steps:

{table}

n: answers that could be scored, of all that were expected; a missing one counts as wrong. Ceiling: what a perfect
model would score, limited by its frames. Copy-input and mean-target: what the input itself and the mean of the training
targets score. One choice of training pairs and one seed: another choice gives another score.
"""


def _use(told: Told) -> str:
    text = f"""## Use

```python
import vdmfewshot as vdm

answer = vdm.load("{told.name}").predict("picture.png")
```
"""
    if told.settings is not None:
        text += f"""
[config.yaml](config.yaml) is the run's; `--data.root` names your copy of the data:

```bash
vdmfewshot test -c config.yaml --model.adapter {told.name}
```
"""
    return text if is_shipped(told.manifest) else text + f"\n{_diffusers(told)}"


def _diffusers(told: Told) -> str:
    backbone = told.manifest.backbone
    options = "".join(f", {key}={value!r}" for key, value in backbone.get("pipeline_kwargs", {}).items())
    lora = {"weight_name": DIFFUSERS_FILE, **backbone.get("lora_kwargs", {})}
    if told.name.revision:
        lora["revision"] = told.name.revision
    more = "".join(f", {key}={value!r}" for key, value in lora.items())
    return f"""In diffusers, as any LoRA of this model; the pipeline then continues a picture with its answer:

```python
import torch
from diffusers import {backbone["pipeline"]}

pipeline = {backbone["pipeline"]}.from_pretrained("{backbone["path"]}", torch_dtype=torch.bfloat16{options})
pipeline.{backbone.get("lora_loader", "load_lora_weights")}("{told.name.repo}"{more})
```
"""


def _made(told: Told) -> str:
    rows = {name: _at(told.settings or {}, place) for name, place in MADE.items()}
    lines = [f"- {name}: `{value}`" for name, value in rows.items() if value is not None]
    lines += [f"- model: `{told.manifest.backbone['path']}`, fingerprint `{told.manifest.backbone['fingerprint']}`"]
    lines += [f"- codec: `{told.manifest.codec['name']}`, transition `{told.manifest.clip['transition']}`"]
    return "## How it was made\n\n" + "\n".join(lines) + "\n"


def _at(settings: Any, place: str) -> Any:
    for part in place.split("."):
        settings = settings.get(part) if isinstance(settings, Mapping) else None
    return str(settings).rpartition(".")[2] if place.endswith("class_path") and settings else settings
