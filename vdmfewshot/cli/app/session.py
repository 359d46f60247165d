"""What one visitor of the page has: pictures, targets, an adaptation and its answers, in a folder of their own."""

from __future__ import annotations

import shlex
import shutil
import tempfile
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vdmfewshot.backbones import Backbone
from vdmfewshot.callbacks.draw import draw_label_map
from vdmfewshot.callbacks.predictions import save_label, save_png
from vdmfewshot.cli.app.adaptation import Adaptation, Plan, taking_turns, told
from vdmfewshot.codecs.base import Decoded
from vdmfewshot.data.names import bare_name, name_of
from vdmfewshot.data.pictures import read_orientation, read_picture

Picture = NDArray[np.uint8]

#: ends of names that targets have and their pictures have not
ENDINGS = ("_mask", "-mask", "_target", "-target", "_label", "-label")


@dataclass(frozen=True)
class Answer:
    """What the adapted model says of a picture.

    Attributes:
        name: of the picture.
        picture: (h, w, 3).
        drawn: its answer as a picture of the same size.
    """

    name: str
    picture: Picture
    drawn: Picture


class Session:
    """One visitor.

    Args:
        root: folder in which the session's own is made.
        data: further arguments of ``PairsDataModule``.

    Attributes:
        folder: everything of this visitor, readable by this user of the machine only.
        inputs: files of pictures by name, ``p0``.
        targets: files of their targets.
        job: the latest adaptation.
    """

    def __init__(self, root: Path, data: dict[str, Any] | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="session-", dir=root))
        self.data = data or {}
        self.inputs: dict[str, Path] = {}
        self.targets: dict[str, Path] = {}
        self.job: Adaptation | None = None

    # -- pairs --------------------------------------------------------------------------------------------------------

    def add_pictures(self, files: Iterable[Path]) -> list[str]:
        """Take uploaded pictures over; returns what is wrong with those that are refused."""
        return [problem for file in files if (problem := self._add(file, self.name_of(file), "input", self.inputs))]

    def add_targets(self, files: Iterable[Path]) -> list[str]:
        """Take uploaded targets over, each for the picture of its name; returns what is wrong with the others."""
        problems = []
        for file in files:
            name = self.name_of(file)
            options = (name, *(name.removesuffix(end) for end in ENDINGS))
            owner = next((option for option in options if option in self.inputs), None)
            if owner is None:
                known = ", ".join(sorted(self.inputs)) or "none yet"
                problems.append(f"{file.name}: no picture has this name; there are {known}")
            elif problem := self._add(file, owner, "target", self.targets):
                problems.append(problem)
        return problems

    def _add(self, file: Path, name: str, part: str, known: dict[str, Path]) -> str:
        try:
            read_picture(file)
        except ValueError as error:
            return str(error).replace(f"{file.parent}/", "")
        place = self.folder / "pairs" / part / f"{name}{file.suffix.lower()}"
        if part == "input" and name in known:
            return f"{file.name}: there is a picture of this name already; rename one"
        self._forget(name, known)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(file, place)
        known[name] = place
        return ""

    def paint(self, name: str, mask: NDArray[np.bool_]) -> None:
        """Keep a painted mask.

        Args:
            name: of a picture.
            mask: (h, w) of any size with the picture's aspect ratio.
        """
        file = self.inputs[name]
        picture = read_picture(file)
        if read_orientation(file) != 1:  # the mask is painted on the upright picture
            self._forget(name, self.inputs)
            self.inputs[name] = file.with_suffix(".png")
            save_png(self.inputs[name], picture)
        height, width = picture.shape[:2]
        covered = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA) >= 0.5
        self._forget(name, self.targets)
        self.targets[name] = self.folder / "pairs" / "target" / f"{name}.png"
        self.targets[name].parent.mkdir(parents=True, exist_ok=True)
        save_png(self.targets[name], covered * np.uint8(255))

    def remove(self, name: str) -> None:
        """Forget a picture and its target."""
        self._forget(name, self.inputs)
        self._forget(name, self.targets)

    @staticmethod
    def _forget(name: str, known: dict[str, Path]) -> None:
        if name in known:
            known.pop(name).unlink(missing_ok=True)

    @staticmethod
    def name_of(file: Path) -> str:
        """Name of an uploaded file without its suffixes."""
        return bare_name(name_of(file, file.parent))

    def pairs(self) -> list[tuple[Path, Path]]:
        """Pictures that have a target, in order of name."""
        return [(self.inputs[name], self.targets[name]) for name in sorted(self.targets)]

    # -- adaptation ---------------------------------------------------------------------------------------------------

    def adapt(self, target: str, model: str | Backbone, steps: int, held: bool) -> Adaptation:
        """Start an adaptation; one that still runs is cancelled.

        Raises:
            ValueError: if no picture has a target.
        """
        if not self.targets:
            raise ValueError("no picture has a target yet: paint a mask, or drop files of the same names")
        self.cancel()
        shutil.rmtree(self.folder / "runs", ignore_errors=True)
        shutil.rmtree(self.folder / "answers", ignore_errors=True)
        plan = Plan(self.pairs(), target, model, steps, held, self.data)
        self.job = Adaptation(plan, self.folder)
        self.job.start()
        return self.job

    def cancel(self) -> None:
        """End the adaptation that runs, if one does, and wait for its end."""
        if self.job is not None and self.job.is_alive():
            self.job.cancelled.set()
            self.job.join()

    def command(self) -> str:
        """The command line that does what the latest adaptation did, beside the unpacked pairs.

        Raises:
            ValueError: if there was none.
        """
        if self.job is None:
            raise ValueError("nothing is adapted yet")
        plan = self.job.plan
        data = {"root": "pairs", "target": plan.target, **plan.data}
        trainer = {"max_steps": plan.steps}
        for name, value in plan.arguments.items():
            (data if name == "val_fraction" else trainer)[name] = value
        words = ["vdmfewshot", "fit", "--model", str(plan.model), "--data", "PairsDataModule"]
        words += [f"--data.{name}={value}" for name, value in data.items()]
        words += [f"--trainer.{name}={value}" for name, value in trainer.items()]
        return shlex.join(words)

    # -- answers ------------------------------------------------------------------------------------------------------

    def take_queries(self, files: Iterable[Path]) -> list[Path]:
        """Take uploaded pictures over that are to be answered; their places in the session's folder."""
        place = self.folder / "queries"
        place.mkdir(exist_ok=True)
        return [Path(shutil.move(file, place / file.name)) for file in files]

    def answer(self, files: Sequence[Path]) -> list[Answer]:
        """Ask the adapted model; its answers are also kept as PNG files.

        Raises:
            ValueError: naming the pictures that cannot be read or have the same name, or if nothing is adapted yet.
        """
        if self.job is None or self.job.result is None:
            raise ValueError("nothing is adapted yet: adapt first, then ask")
        names = [self.name_of(file) for file in files]
        if twins := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"several pictures are named {', '.join(twins)}; rename them or ask one by one")
        place = self.folder / "answers"
        place.mkdir(exist_ok=True)
        try:
            with taking_turns():
                labels = self.job.result.predict(list(files))
        except Exception as error:
            text = told(error, self.folder)
            for file in files:
                text = text.replace(f"{file.parent}/", "")
            raise ValueError(text) from error
        answers = []
        for file, name, label in zip(files, names, labels, strict=True):
            save_label(place, name, 0, Decoded(label, 1.0))
            drawn = draw_label_map(label) if label.ndim == 2 else label
            answers.append(Answer(file.name, read_picture(file), drawn))
        return answers

    def zipped(self, what: str) -> Path:
        """Pack ``pairs``, ``answers`` or ``adapter``.

        Raises:
            ValueError: if there is nothing to pack.
        """
        source = self.folder / what
        if what == "adapter" and self.job is not None and self.job.result is not None:
            source = self.job.result.save(source)
        if not source.is_dir() or not any(source.iterdir()):
            raise ValueError(f"there are no {what} yet")
        place = self.folder / "downloads"
        place.mkdir(exist_ok=True)
        return Path(shutil.make_archive(str(place / what), "zip", self.folder, what))

    def close(self) -> None:
        """Cancel and remove everything."""
        self.cancel()
        shutil.rmtree(self.folder, ignore_errors=True)


class Sessions:
    """Every open page's session.

    Args:
        root: folder of all of them; ``root/gradio`` holds copies of what goes to and comes from browsers.
        data: further arguments of ``PairsDataModule`` for all.
    """

    def __init__(self, root: Path, data: dict[str, Any] | None = None) -> None:
        self.root = root
        self.data = data
        self._open: dict[str, Session] = {}
        self._lock = threading.Lock()

    def of(self, page: str) -> Session:
        """The session of a page, made when it is first asked for."""
        with self._lock:
            if page not in self._open:
                self._open[page] = Session(self.root, self.data)
            return self._open[page]

    def close(self, page: str) -> None:
        """Remove a session; with the last one, all copies."""
        with self._lock:
            session = self._open.pop(page, None)
            last = not self._open
        if session is not None:
            session.close()
        if last:
            for copies in (self.root / "gradio").glob("*"):
                shutil.rmtree(copies, ignore_errors=True)

    def close_all(self) -> None:
        """Remove every session."""
        for page in list(self._open):
            self.close(page)
