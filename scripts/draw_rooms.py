"""Draws docs/explanation/rooms.svg: the rooms of the package and who imports whom, read from the code.

An arrow that a way through other rooms implies is left out.
"""

from __future__ import annotations

import ast
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

ROOT = Path(__file__).resolve().parents[1]
#: where each room is drawn; a room imports from lower ones
PLACES: dict[str, tuple[float, float]] = {
    **{"storage": (-0.5, 0), "clips": (-3.5, 0), "drawing": (3.5, 0), "codecs": (-3.5, 1), "metrics": (-3.5, 2)},
    **{"data": (-3.5, 3), "budget": (3.0, 3), "backbones": (1.5, 4), "lora": (1.5, 5), "training": (1.5, 6)},
    **{"callbacks": (-1.5, 7), "studies": (-1.5, 8), "pretrain": (3.5, 8), "cli": (-1.5, 9)},
}
COLORS = dict.fromkeys(("storage", "clips", "drawing", "codecs", "metrics", "data"), "#cfe3f5")
COLORS |= dict.fromkeys(("budget", "backbones", "lora", "training"), "#fbe0c3")


def imports() -> set[tuple[str, str]]:
    """(importing, imported) rooms."""
    found = set()
    for file in (ROOT / "vdmfewshot").rglob("*.py"):
        room = file.relative_to(ROOT / "vdmfewshot").parts[0]
        for node in ast.walk(ast.parse(file.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            found |= {(room, name.split(".")[1]) for name in names if name.startswith("vdmfewshot.")}
    return {(a, b) for a, b in found if a != b}


def direct(edges: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Those that no longer way through other rooms implies."""

    def reaches(a: str, b: str) -> bool:
        return any(c == b or reaches(c, b) for start, c in edges if start == a)

    return {(a, b) for a, b in edges if not any(s == a and c != b and reaches(c, b) for s, c in edges)}


def main() -> None:
    """Write the picture."""
    matplotlib.rcParams["svg.hashsalt"] = "rooms"
    figure, axes = plt.subplots(figsize=(7, 9))
    for a, b in sorted(direct(imports())):
        if a in PLACES and b in PLACES:
            (x1, y1), (x2, y2) = PLACES[a], PLACES[b]
            bend = 0.25 if x1 == x2 and y1 - y2 > 1 else 0.0
            style = {"arrowstyle": "-|>", "mutation_scale": 9, "color": "#8a8f98", "alpha": 0.55, "lw": 0.9}
            curve = f"arc3,rad={bend}"
            axes.add_patch(FancyArrowPatch((x1, y1 - 0.26), (x2, y2 + 0.26), connectionstyle=curve, **style))
    for room, (x, y) in PLACES.items():
        color = COLORS.get(room, "#dcefd9")
        axes.add_patch(FancyBboxPatch((x - 1, y - 0.22), 2, 0.44, boxstyle="round,pad=0.03", fc=color, ec="#555"))
        axes.text(x, y, room, ha="center", va="center", fontsize=12)
    axes.set_xlim(-5, 5)
    axes.set_ylim(-0.6, 9.6)
    axes.axis("off")
    figure.savefig(ROOT / "docs/explanation/rooms.svg", bbox_inches="tight", facecolor="white", metadata={"Date": None})


if __name__ == "__main__":
    main()
