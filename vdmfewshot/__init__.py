"""Few-shot visual learning with frozen video diffusion models.

    import vdmfewshot as vdm
    adapted = vdm.adapt(pairs, target="mask", shots=5)
    adapted.predict(image)

The names below are the public interface. Each is imported when it is first used (PEP 562): ``import vdmfewshot`` itself
is instant.
"""

from __future__ import annotations

#: what type checkers take for true; ``typing`` itself would cost half of the import
TYPE_CHECKING = False
if TYPE_CHECKING:
    from vdmfewshot import codecs, metrics
    from vdmfewshot.api import Adapted, adapt, load
    from vdmfewshot.backbones import CogVideoX, Wan
    from vdmfewshot.backbones import LtxVideo as LTXVideo
    from vdmfewshot.callbacks.default import default_callbacks
    from vdmfewshot.data.arc import ArcDataModule
    from vdmfewshot.data.pairs import PairsDataModule
    from vdmfewshot.data.pose import CocoPoseDataModule
    from vdmfewshot.data.segmentation import MaskFolderDataModule
    from vdmfewshot.training.module import FewShotModule

__version__ = "0.2.0.dev0"
__all__ = [
    "Adapted",
    "ArcDataModule",
    "CocoPoseDataModule",
    "CogVideoX",
    "FewShotModule",
    "LTXVideo",
    "MaskFolderDataModule",
    "PairsDataModule",
    "Wan",
    "__version__",
    "adapt",
    "codecs",
    "default_callbacks",
    "load",
    "metrics",
]

#: module, and the name there where it is another
_HOMES = {
    "Adapted": "api",
    "ArcDataModule": "data.arc",
    "CocoPoseDataModule": "data.pose",
    "CogVideoX": "backbones",
    "FewShotModule": "training.module",
    "LTXVideo": "backbones:LtxVideo",
    "MaskFolderDataModule": "data.segmentation",
    "PairsDataModule": "data.pairs",
    "Wan": "backbones",
    "adapt": "api",
    "codecs": "codecs:",
    "default_callbacks": "callbacks.default",
    "load": "api",
    "metrics": "metrics:",
}


if not TYPE_CHECKING:  # to a type checker, a name that is not above is a mistake

    def __getattr__(name):  # noqa: ANN001, ANN202
        """Import a public name."""
        if name not in _HOMES:
            raise AttributeError(f"module 'vdmfewshot' has no attribute {name!r}; it has {', '.join(__all__)}")
        from importlib import import_module

        path, colon, other = _HOMES[name].partition(":")
        home = import_module(f"vdmfewshot.{path}")
        found = home if colon and not other else getattr(home, other or name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted(__all__)
