"""Which picture an export means: by path, by name, by name in another spelling."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import unquote

from vdmfewshot.data.layouts import PARTS, TARGETS
from vdmfewshot.data.names import list_pictures
from vdmfewshot.data.pictures import SUFFIXES


def composed(word: str) -> str:
    """A name as most systems write it: letters from a Mac come in two parts."""
    return unicodedata.normalize("NFC", word)


def folded(word: str) -> str:
    """A name in any case."""
    return composed(word).casefold()


def bare(word: str) -> str:
    """A name in any case without the suffix of a picture: some were saved again in another format."""
    stem, dot, suffix = folded(word).rpartition(".")
    return stem if dot and f".{suffix}" in SUFFIXES else folded(word)


class Pictures:
    """Pictures below a folder, found by the paths that exports write: relative, absolute, Windows, or only the name.

    Names may differ in case, in what a URL escapes, and in the suffix, as long as one picture alone fits.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        found = list_pictures(folder)[0]
        self.files = [file for file in found if not self._is_mask(file)] or found
        self._by_name: dict[Callable[[str], str], dict[str, list[Path]]] = {}
        for spelling in (composed, folded, bare):
            known = self._by_name[spelling] = {}
            for file in self.files:
                known.setdefault(spelling(file.name), []).append(file)

    def _is_mask(self, file: Path) -> bool:
        """Whether a file lies in a folder of masks, which have the names of their pictures."""
        masks = {folded(name) for name in (*TARGETS, "SegmentationObject")}
        return bool(masks & {folded(part) for part in file.relative_to(self.folder).parts[:-1]})

    def find(self, name: str, near: Path | None = None, part: str = "") -> Path:
        """The picture.

        Args:
            name: as an export gives it.
            near: of several pictures of this name, those below this folder are meant,
            part: or those in a folder of this part of the split.

        Raises:
            ValueError: if there is none or more than one, with the nearest name.
        """
        for text in dict.fromkeys((name, unquote(name))):
            words = [word for word in text.replace("\\", "/").split("/") if word not in ("", ".", "..")]
            for spelling in self._by_name if words else ():
                found = self._ending(words, spelling, near, part)
                if len(found) == 1:
                    return found[0]
                if found:
                    shown = ", ".join(str(file.relative_to(self.folder)) for file in found[:3])
                    raise ValueError(f"picture {name!r} may be any of {shown}")
        known = self._by_name[composed]
        near_names = difflib.get_close_matches(name.replace("\\", "/").split("/")[-1], known, n=1, cutoff=0.6)
        hint = f"; nearest: {near_names[0]}" if near_names else ""
        raise ValueError(f"no picture {name!r} in {self.folder}{hint}")

    def _ending(
        self, words: Sequence[str], spelling: Callable[[str], str], near: Path | None, part: str
    ) -> Sequence[Path]:
        """Pictures whose paths end in as many of the words as any does; of several those that are near."""
        last = self._by_name[spelling].get(spelling(words[-1]), [])
        for start in range(len(words)):
            ending = [folded(word) if spelling is not composed else composed(word) for word in words[start:-1]]
            found = [f for f in last if self._folders(f, spelling)[-1 - len(ending) : -1] == ending] if ending else last
            if len(found) > 1:
                found = [f for f in found if near and f.is_relative_to(near)] or found
            if len(found) > 1:
                found = [f for f in found if {*f.relative_to(self.folder).parts} & {*PARTS.get(part, ())}] or found
            if found:
                return found
        return []

    def _folders(self, file: Path, spelling: Callable[[str], str]) -> list[str]:
        return [composed(word) if spelling is composed else folded(word) for word in file.parts]

    def belies(self, file: Path, picture: Path) -> bool:
        """Whether a file of labels names another picture than the one of its own name: one of them was renamed."""
        own = self._by_name[bare].get(folded(file.stem), [])
        return bool(own) and bare(picture.name) != folded(file.stem)
