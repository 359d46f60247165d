"""Labels as RGB frames and back. ``codec_from_spec`` rebuilds the codec an adapter was trained with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vdmfewshot.codecs.answer import AnswerCodec
from vdmfewshot.codecs.base import Codec, Decoded
from vdmfewshot.codecs.grid import GridCodec
from vdmfewshot.codecs.image import ImageCodec
from vdmfewshot.codecs.keypoints import KeypointCodec
from vdmfewshot.codecs.labelmap import LabelMapCodec
from vdmfewshot.codecs.mask import MaskCodec
from vdmfewshot.codecs.surface import DepthCodec, NormalCodec

__all__ = [
    "CODECS",
    "AnswerCodec",
    "Codec",
    "Decoded",
    "DepthCodec",
    "GridCodec",
    "ImageCodec",
    "KeypointCodec",
    "LabelMapCodec",
    "MaskCodec",
    "NormalCodec",
    "codec_from_spec",
]

#: codecs by the name that adapters store
CODECS: dict[str, type[Codec[Any]]] = {
    codec.__name__: codec
    for codec in (
        *(AnswerCodec, DepthCodec, GridCodec, ImageCodec, KeypointCodec, LabelMapCodec, MaskCodec, NormalCodec),
    )
}


def codec_from_spec(name: str, spec: Mapping[str, Any], version: int) -> Codec[Any]:
    """Rebuild a codec from what an adapter stores: class name, ``spec()`` and ``version``.

    Raises:
        ValueError: for an unknown name, a version other than this package's, or arguments that the codec refuses.
    """
    if name not in CODECS:
        raise ValueError(f"codec must be one of {', '.join(sorted(CODECS))}, got {name!r}")
    codec = CODECS[name]
    if version != codec.version:
        raise ValueError(
            f"{name} must be of version {codec.version}, got {version}: its pixels mean something else now; "
            "train the adapter again or install the release that made it"
        )
    try:
        return codec(**spec)
    except TypeError as error:
        raise ValueError(f"{name} does not accept the stored arguments {dict(spec)}: {error}") from error
