"""Help in milliseconds: what a user needs first, everything, or one class; printed from the schema."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from vdmfewshot.cli.errors import Mistake, did_you_mean
from vdmfewshot.cli.schema import Option, Schema, VerbSchema
from vdmfewshot.cli.verbs import Verb, table

WIDTH = 100
OVERVIEW = """Turn a frozen video diffusion model into a vision model for your task, from 1-30 labelled examples.

A first run:    vdmfewshot adapt -c nuclei
Your pictures:  vdmfewshot adapt --data PairsDataModule --data.root FOLDER --data.shots 4
                (FOLDER/input and FOLDER/target hold pictures of the same names)
Compare runs:   vdmfewshot report runs"""
#: how each verb is called; other verbs print the help of their own parser
EXAMPLES = {
    "adapt": ("-c nuclei", "--data PairsDataModule --data.root FOLDER --data.shots 4 --name mine"),
    "fit": ("-c nuclei", "-c runs/mine/version_0/config.yaml --ckpt_path last --trainer.max_steps 400"),
    "validate": ("-c nuclei --data.val_fraction 0.5 --model.adapter runs/nuclei/version_0/adapter",),
    "test": ("-c nuclei --model.adapter runs/nuclei/version_0/adapter",),
    "predict": ("--data PairsDataModule --data.root FOLDER --model.adapter runs/mine/version_0/adapter",),
}
#: what a user needs first, in our words where the option is Lightning's
WORDS = {
    "ckpt_path": "Checkpoint to go on from, or to score: a file, or last for the newest of this name.",
    "seed_everything": "Of everything that is random.",
    "trainer.max_steps": "Steps of training.",
    "trainer.accelerator": "cpu, gpu, or auto for what there is.",
    "trainer.precision": "32-true, bf16-mixed, …; if not given, what the hardware does fastest.",
}
#: the verb's own options, those of the module and those that all data modules share
FIRST = ("name", "ckpt_path", "seed_everything", "trainer.max_steps", "trainer.accelerator", "trainer.precision")
FIRST_OF_MODEL = ("adapter", "backbone", "lora.rank", "sampling.quality", "sampling.steps", "sampling.attempts")
FIRST_OF_DATA = ("root", "shots", "support_seed", "variants", "batch_size", "height", "width", "num_frames")
ONLY_TRAINING = ("trainer.max_steps", "data.variants", "data.batch_size", "model.lora.rank")


def overview(version: str) -> str:
    """What ``vdmfewshot`` alone prints."""
    more = "Help: vdmfewshot VERB --help. What ships with the package: vdmfewshot list"
    head, _, rest = OVERVIEW.partition("\n\n")
    return f"{textwrap.fill(f'vdmfewshot {version}. {head}', 80)}\n\n{rest}\n\nVerbs:\n{table()}\n\n{more}\n"


def verb_help(verb: Verb, topic: str, schema: Schema) -> str:
    """Help of a verb.

    Args:
        verb: any.
        topic: "" for what is needed first, ``all`` for everything, or the name of a class.
        schema: of this release.

    Raises:
        Mistake: for another topic.
    """
    known = schema.verbs[verb.name]
    if topic and topic != "all":
        return class_help(topic, schema)
    if known.text:
        return known.text
    return _everything(verb, known, schema) if topic == "all" else _first(verb, known, schema)


def class_help(name: str, schema: Schema) -> str:
    """A class and all its arguments.

    Raises:
        Mistake: if there is no such class.
    """
    cls = schema.class_of(name)
    if cls is None:
        raise Mistake(f"--help {name}: there is no such class{did_you_mean(name, [*schema.classes, 'all'])}")
    place = {"LightningModule": "model", "LightningDataModule": "data", "Backbone": "model.backbone"}.get(cls.kind, "")
    head = f"{cls.name} ({cls.path})\n\n{_fill(cls.help)}"
    return "\n".join([head, "", *_listed(cls.options.values(), f"--{place}." if place else ""), ""])


def _first(verb: Verb, known: VerbSchema, schema: Schema) -> str:
    model, data = schema.classes["FewShotModule"].options, schema.classes["PairsDataModule"].options
    blocks = {
        "Options": ("", known.options, FIRST),
        "Data (PairsDataModule; others: vdmfewshot list data)": ("data.", data, FIRST_OF_DATA),
        "Model": ("model.", model, FIRST_OF_MODEL),
    }
    hidden = () if verb.name in ("adapt", "fit") else ONLY_TRAINING
    lines = [*_usage(verb), "", *_choose()]
    for title, (prefix, options, names) in blocks.items():
        shown = [options[name] for name in names if name in options and prefix + name not in hidden]
        told = [replace(o, help=WORDS[o.name], type="", choices=()) if o.name in WORDS else o for o in shown]
        lines += ["", f"{title}:", *_listed(told, f"--{prefix}", sentences=1)]
    return "\n".join([*lines, "", _more(verb), ""])


def _everything(verb: Verb, known: VerbSchema, schema: Schema) -> str:
    lines = [*_usage(verb), "", *_choose(), "", "Options:", *_listed(known.options.values(), "--")]
    places = {"LightningModule": "model", "LightningDataModule": "data", "Backbone": "model.backbone"}
    for cls in schema.classes.values():
        if cls.kind in places and cls.path.startswith("vdmfewshot."):
            title = f"--{places[cls.kind]} {cls.name}: {cls.help}"
            lines += ["", _fill(title), *_listed(cls.options.values(), f"--{places[cls.kind]}.")]
    others = [cls.name for cls in schema.classes.values() if cls.kind not in places]
    lines += ["", _fill(f"Callbacks and loggers, each explained by --help NAME: {', '.join(others)}.")]
    return "\n".join([*lines, ""])


def _usage(verb: Verb) -> list[str]:
    calls = [f"  vdmfewshot {verb.name} {example}" for example in EXAMPLES[verb.name]]
    return [f"vdmfewshot {verb.name}: {verb.line}.", "", *calls]


def _choose() -> list[str]:
    rows = {
        "-c, --config NAME|FILE": "An experiment or overlay; may be repeated, later ones win. See: vdmfewshot list",
        "--data NAME|FILE|CLASS": "What to learn from and to score on.",
        "--model NAME|FILE|CLASS": "Frozen model and settings of the adapter.",
        "--trainer NAME|FILE": "Hardware and number of steps.",
        "--print_config": "Print what the command line stands for, and exit.",
    }
    return [line for name, text in rows.items() for line in _row(name, text)]


def _more(verb: Verb) -> str:
    return (
        f"All options: vdmfewshot {verb.name} --help all. One class: vdmfewshot {verb.name} --help ArcDataModule.\n"
        "The order of options does not matter; they win over files. A misspelt one is an error."
    )


def _listed(options: Iterable[Option], prefix: str, sentences: int = 0) -> Iterator[str]:
    """Name, text, choices and default of each option."""
    for option in options:
        yield from _row(prefix + option.name, describe(option, sentences))


def describe(option: Option, sentences: int = 0) -> str:
    """Text, choices or type, and default."""
    text = option.help[:1].upper() + option.help[1:]
    if sentences:
        text = first_sentences(text, sentences)
    text = text if not text or text.endswith((".", "!", "?", ")")) else f"{text}."
    kind = f"One of {', '.join(option.choices)}." if option.choices else f"[{option.type}]" * bool(option.type)
    default = f"Default: {_short(option.default)}." if option.default not in (None, [], "") else ""
    default = "Required." if option.required else default
    return " ".join(filter(None, [text, kind, default]))


def first_sentences(text: str, count: int) -> str:
    """The first sentences of a text, each whole."""
    parts = text.split(". ")
    for end in range(count, len(parts)):
        found = ". ".join(parts[:end])
        if found.count("(") == found.count(")"):
            return f"{found}."
    return f"{text.removesuffix('.')}."


def _short(default: Any) -> str:
    """A default in few words: classes by their names."""
    if isinstance(default, Mapping) and "class_path" in default:
        return str(default["class_path"]).rpartition(".")[2]
    if isinstance(default, list):
        return ", ".join(map(_short, default))
    return default if isinstance(default, str) else json.dumps(default)


def _row(name: str, text: str) -> list[str]:
    indent = " " * 28
    lines = textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
    if len(name) <= 24:
        return [f"  {name:<26}{(lines or [indent])[0].lstrip()}".rstrip(), *lines[1:]]
    return [f"  {name}", *lines]


def _fill(text: str) -> str:
    return textwrap.fill(text, WIDTH, break_on_hyphens=False)
