"""What the command line accepts, from a generated file: known in milliseconds, where the parser takes seconds."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from vdmfewshot.storage.documents import read_json

FILE = Path(__file__).with_name("schema.json")
#: whose releases change what is accepted
LIBRARIES = ("lightning", "jsonargparse")


@dataclass(frozen=True)
class Option:
    """An option of a verb or an argument of a class.

    Attributes:
        name: without dashes and, in a class, without the class: ``trainer.max_steps``, ``lora.rank``.
        type: for people: ``int | None``.
        help: whole sentences.
        default: ``None`` if there is none.
        required: whether a class cannot do without.
        choices: legal values, if they are few words.
        kinds: base classes, if a class may be given.
    """

    name: str
    type: str
    help: str
    default: Any = None
    required: bool = False
    choices: Sequence[str] = ()
    kinds: Sequence[str] = ()


@dataclass(frozen=True)
class Class:
    """A class that a configuration may name.

    Attributes:
        name: short.
        path: its module and name.
        kind: base class.
        help: what it is.
        options: its arguments, those of dataclasses with a dot.
    """

    name: str
    path: str
    kind: str
    help: str
    options: Mapping[str, Option]


@dataclass(frozen=True)
class VerbSchema:
    """A verb's options and the text of its parser.

    Attributes:
        description: above the options.
        options: by name.
        complete: whether every word after the verb is one of these options.
        text: help as its own parser prints it, for verbs that have one.
    """

    description: str
    options: Mapping[str, Option]
    complete: bool
    text: str = ""


@dataclass(frozen=True)
class Schema:
    """Everything the command line accepts.

    Attributes:
        verbs: by name.
        classes: by short name.
        versions: of the libraries that it was made with.
    """

    verbs: Mapping[str, VerbSchema]
    classes: Mapping[str, Class]
    versions: Mapping[str, str] = field(default_factory=dict)

    def of_kinds(self, kinds: Sequence[str]) -> list[Class]:
        """Classes with one of these bases."""
        return [cls for cls in self.classes.values() if cls.kind in kinds]

    def class_of(self, value: str) -> Class | None:
        """The class that a short name or a path names."""
        return self.classes.get(value.rpartition(".")[2])

    def fits_libraries(self) -> bool:
        """Whether the installed libraries accept what those did that the file was made with."""
        try:
            return all(version(name) == self.versions.get(name) for name in LIBRARIES)
        except PackageNotFoundError:
            return False

    def names(self) -> Iterator[str]:
        """Every option's and class's name."""
        yield from self.classes
        for cls in self.classes.values():
            yield from cls.options
        for verb in self.verbs.values():
            yield from verb.options


def read(content: Mapping[str, Any]) -> Schema:
    """A schema from the values of its file."""
    return Schema(
        verbs={
            name: VerbSchema(v["description"], _options(v["options"], content["shared"]), v["complete"], v["text"])
            for name, v in content["verbs"].items()
        },
        classes={
            name: Class(name, c["path"], c["kind"], c["help"], _options(c["options"], {}))
            for name, c in content["classes"].items()
        },
        versions=content["versions"],
    )


@functools.cache
def schema() -> Schema:
    """The schema of this release; made by ``python -m vdmfewshot.cli.write_schema``."""
    return read(read_json(FILE, "install vdmfewshot again"))


def _options(found: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Option]:
    """Options by name; those of all verbs are written once, and ``{}`` stands for them."""
    return {name: Option(name, **(own or shared[name])) for name, own in found.items()}
