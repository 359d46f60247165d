"""Finds mistakes in options and configuration files in milliseconds; what it cannot judge is left to the parser."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from vdmfewshot.cli.arguments import Argument, short_name
from vdmfewshot.cli.errors import PACKAGE, Mistake, did_you_mean, nearest
from vdmfewshot.cli.fragments import FILES, OPTIONS, fragments, included
from vdmfewshot.cli.schema import Option, Schema
from vdmfewshot.storage.limited_yaml import parse_yaml

NULL = ("null", "None", "~")
#: settings and items of lists that are looked at; a file that repeats itself by reference may stand for billions
MOST = 100_000
MOST_CLASSES = 100  # of a list, such as callbacks: jsonargparse takes 10 ms for each
#: where classes with settings are
ROOMS = ("backbones", "budget", "callbacks", "data", "lora", "studies", "training")
#: options that every verb has and the schema leaves out
ALWAYS = ("help", "config", "print_config", "print_shtab")


@dataclass
class Settings:
    """What a command line and its files say, as far as it can be known without importing a class.

    Attributes:
        classes: chosen class by place: ``{"data": "PairsDataModule"}``; the last one wins.
        values: every other setting by name: ``{"data.shots": 5}``.
    """

    classes: dict[str, str] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)

    def set_class(self, place: str, name: str) -> None:
        """Another class, or the same one from a file, starts anew; its arguments so far are forgotten."""
        if self.classes.get(place) != name:
            for known in [key for key in self.values if key.startswith(f"{place}.")]:
                del self.values[known]
        self.classes[place] = name


def check(arguments: Sequence[Argument], options: Mapping[str, Option], schema: Schema) -> Settings:
    """Refuse options, settings in files, classes and values that cannot be right.

    Args:
        arguments: of one verb, in order, names of files resolved.
        options: of the verb.
        schema: classes.

    Returns:
        what they say.

    Raises:
        Mistake: for the first that is wrong.
    """
    checker = Checker(options, schema)
    for argument in arguments:
        try:
            checker.argument(argument)
        except RecursionError as error:
            raise Mistake(f"{argument.value} refers to itself") from error
    return checker.settings


def require(settings: Settings, options: Mapping[str, Option], schema: Schema) -> None:
    """Refuse a run without data, or whose data module lacks an argument.

    Raises:
        Mistake: naming what is missing.
    """
    if "data" not in options:
        return
    name = settings.classes.get("data")
    if name is None:
        raise Mistake(
            "there are no data to work on; give an experiment (-c NAME) or --data NAME; see `vdmfewshot list`"
        )
    chosen = schema.class_of(name)
    for option in chosen.options.values() if chosen else ():
        if option.required and f"data.{option.name}" not in settings.values:
            raise Mistake(f"{name} needs --data.{option.name}: {option.help}")


class Checker:
    """Walks settings, from the command line and from files, along the schema.

    Args:
        options: of the verb.
        schema: classes.
    """

    def __init__(self, options: Mapping[str, Option], schema: Schema) -> None:
        self.options = options
        self.schema = schema
        self.settings = Settings()
        self._visited = 0

    def argument(self, argument: Argument) -> None:
        """Check one option of the command line."""
        name, value = argument.name, argument.value
        if name == "config" and value is not None:
            self.file(Path(value))
        elif name in ALWAYS or name.endswith(".help"):
            return
        elif not name:
            raise Mistake(f"{value!r} is not an option; options start with --, values follow them")
        elif _is_file(value):
            self.setting(name, read(Path(str(value))), str(value))
        else:
            self.setting(name, value, "")

    def file(self, file: Path) -> None:
        """Check every setting of a configuration file."""
        content = read(file)
        if not isinstance(content, dict):
            raise Mistake(f"{file} must hold settings (name: value), got {type(content).__name__}")
        for key, value in content.items():
            found = included(str(key), value, file.parent)
            self.setting(short_name(str(key)), read(found) if found else value, str(file))

    def setting(self, name: str, value: Any, where: str) -> None:
        """Check one setting and what is nested in it."""
        self._visited += 1
        if self._visited > MOST:
            raise Mistake(f"{where or 'the command line'} holds more than {MOST} settings")
        name = name.removesuffix("+")
        if isinstance(value, dict):
            if isinstance(value.get("class_path"), str):
                self.setting(name, value["class_path"], where)
            nested = {k: v for k, v in value.items() if k != "class_path"}
            for key, item in nested.items():
                self.setting(name if key == "init_args" else f"{name}.{short_name(str(key))}", item, where)
            return
        if isinstance(value, list):
            if len(value) > MOST_CLASSES and (known := self.options.get(name)) and known.kinds:
                raise Mistake(f"{told(name, where)} must be at most {MOST_CLASSES} classes, got {len(value)}")
            for item in value:
                self.setting(name, item, where)  # classes of a list are checked one by one
            return
        option = self._find(name, where)
        if option is None:
            return
        kinds = option.type.split(" | ")
        if option.kinds and isinstance(value, str) and not any(SIMPLE[k](value) for k in kinds if k in SIMPLE):
            self._class(name, option, value, where)
        elif not fits(option, value):
            raise Mistake(f"{told(name, where)} must be {expected(option)}, got {value!r}")
        self.settings.values[name] = value

    def _find(self, name: str, where: str) -> Option | None:
        """The option of this name; ``None`` where nothing is known.

        Raises:
            Mistake: if there is certainly none.
        """
        options, parts, place = self.options, name.split("."), ""
        while True:
            end = next((n for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in options), 0)
            if not end:
                if any(known.startswith(".".join(parts) + ".") for known in options):
                    return None  # a group, such as trainer or lora
                self._refuse(place, parts, options, where)
                return None
            option = options[".".join(parts[:end])]
            place, parts = ".".join(filter(None, [place, *parts[:end]])), parts[end:]
            if not parts:
                return option
            classes = self.schema.of_kinds(option.kinds)
            chosen = self.schema.class_of(self.settings.classes.get(place, ""))
            if not classes or (place in self.settings.classes and chosen is None):
                if option.choices or option.type in ("int", "str", "float", "bool"):
                    self._refuse(place, parts, {}, where)
                return None
            options = chosen.options if chosen else {k: o for cls in classes for k, o in cls.options.items()}

    def _class(self, name: str, option: Option, value: str, where: str) -> None:
        """Note the class that is chosen; refuse one that resembles a known one and is not."""
        classes = {cls.name for cls in self.schema.of_kinds(option.kinds)}
        if value in classes or self.schema.class_of(value):
            self.settings.set_class(name, value.rpartition(".")[2])
        else:
            self.settings.classes[name] = value
            shipped = fragments(OPTIONS[name]) if name in OPTIONS else {}
            is_name = value.replace("-", "_").isidentifier()
            if classes and is_name and "str" not in option.type and not _may_be_new(value):
                near = did_you_mean(value, [*classes, *shipped], otherwise=True)
                raise Mistake(f"{told(name, where)}: there is no {'name or ' * bool(shipped)}class {value}{near}")

    def _refuse(self, place: str, parts: Sequence[str], options: Mapping[str, Option], where: str) -> None:
        """Raise, unless the package's source has a setting of this name: then the parser must tell."""
        name = ".".join(parts)
        groups = (n for n in range(1, len(parts)) if any(o.startswith(".".join(parts[:n]) + ".") for o in options))
        if _may_be_new(parts[max(groups, default=0)]):
            return
        kind, dashes = ("setting", "") if where else ("option", "--")
        prefix = f"{dashes}{place}." if place else dashes
        near = did_you_mean(name, [*options, *_first_part(name, options)], prefix)
        whole = ".".join(filter(None, [place, name]))
        raise Mistake(f"{where}: " * bool(where) + f"unknown {kind} {dashes}{whole}{near}")


def read(file: Path) -> Any:
    """Plain values of a configuration file.

    Raises:
        Mistake: if there is none, or it is no YAML.
    """
    try:
        text = file.read_text(encoding="utf-8")
        return parse_yaml(text)
    except OSError as error:
        raise Mistake(f"{file}: there is no such file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Mistake(f"{file} is no configuration: {' '.join(str(error).split())}") from error


def told(name: str, where: str) -> str:
    """A setting as the user wrote it: an option, or a line of a file."""
    return f"{where}: {name}" if where else f"--{name}"


def fits(option: Option, value: Any) -> bool:
    """Whether a value can be of an option's type; ``True`` where only the parser can tell."""
    kinds = set(option.type.split(" | "))
    text = str(value)
    if value is None or text in NULL:
        return bool(kinds - {"int", "float", "bool"} - set(option.choices)) or "null" in option.choices
    if option.choices:
        return text in option.choices
    if not kinds <= set(SIMPLE) or not isinstance(value, str | int | float):
        return True
    return any(SIMPLE[kind](text) for kind in kinds)


def expected(option: Option) -> str:
    """A type in words."""
    words = {"int": "a whole number", "float": "a number", "bool": "true or false"}
    if option.choices:
        return f"one of {', '.join(option.choices)}"
    return " or ".join(dict.fromkeys(words.get(kind, kind) for kind in option.type.split(" | ")))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


#: whether a word can be read as a type
SIMPLE: dict[str, Callable[[str], bool]] = {
    "int": lambda text: re.fullmatch(r"[-+]?[\d_]+(\.0*)?|[-+]?0x[\da-fA-F]+", text) is not None,
    "float": _is_number,
    "bool": lambda text: text.lower() in ("true", "false", "yes", "no", "on", "off", "1", "0"),
    "null": lambda text: text in NULL,
}


def _is_file(value: Any) -> bool:
    return isinstance(value, str) and value.endswith(FILES) and Path(value).is_file()


def _first_part(name: str, options: Iterable[str]) -> Iterator[str]:
    """Names with another first part that there is: ``modle.lora.rank`` → ``model.lora.rank``."""
    first, _, rest = name.partition(".")
    firsts = {option.partition(".")[0] for option in options}
    if rest and first not in firsts:
        yield from (f"{near}.{rest}" for near in nearest(first, firsts))


@functools.cache
def _declared() -> frozenset[str]:
    """Classes, their fields and constructor arguments in a checkout, where the schema may be older than the source."""
    if not (PACKAGE.parent / "pyproject.toml").is_file():
        return frozenset()
    trees = [ast.parse(file.read_text(encoding="utf-8")) for room in ROOMS for file in (PACKAGE / room).rglob("*.py")]
    classes = [node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)]
    parts = [node for cls in classes for node in cls.body]
    fields = [node.target.id for node in parts if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)]
    makers = [node for node in parts if isinstance(node, ast.FunctionDef) and node.name == "__init__"]
    given = [arg.arg for maker in makers for arg in (*maker.args.args, *maker.args.kwonlyargs)]
    return frozenset([*fields, *given, *(cls.name for cls in classes)])


def _may_be_new(word: str) -> bool:
    """Whether the source declares such an argument or class, so that the schema may just not know it yet."""
    return word in _declared()
