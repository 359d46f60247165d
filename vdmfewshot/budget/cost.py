"""What a run costs, as plain numbers: FLOP, bytes and tokens."""

from __future__ import annotations

from dataclasses import dataclass, fields

#: fp32 parameter, gradient and the two moments of AdamW
BYTES_PER_TRAINABLE = 16


@dataclass(frozen=True)
class Denoiser:
    """Cost of one training step of the denoiser at some depth; all of it linear in the number of blocks.

    Attributes:
        forward: FLOP of the forward pass of the batch.
        backward: FLOP of the backward pass of the batch: gradients of activations and of the adapter.
        frozen: bytes of frozen weights.
        linear: bytes of those in linear layers, which quantisation reduces.
        trainable: adapter parameters.
        activations: bytes that the forward pass keeps for the backward pass.
    """

    forward: float
    backward: float
    frozen: float
    linear: float
    trainable: float
    activations: float

    def __sub__(self, other: Denoiser) -> Denoiser:
        return Denoiser(*(getattr(self, f.name) - getattr(other, f.name) for f in fields(self)))

    def plus(self, other: Denoiser, times: int) -> Denoiser:
        """This and ``times`` the other."""
        return Denoiser(*(getattr(self, f.name) + times * getattr(other, f.name) for f in fields(self)))


@dataclass(frozen=True)
class Cost:
    """What training and prediction take. A multiply-add is 2 FLOP; bytes are those of one device.

    Attributes:
        tokens: video tokens of a clip.
        batch_size: clips of a training step on one device.
        blocks: of the denoiser.
        total: the denoiser.
        block: of it, a block that is not the first: the first needs no gradient of its input.
        boundary: bytes of a block's results, which stay if the next block is recomputed.
        working: bytes at the peak of the backward pass beyond the activations.
        recomputing: as ``working``, where every block is recomputed: the activations of one block, and what making
            them again takes for a while.
        encode: FLOP of the condition and the latents of a clip, spent once.
        decode: FLOP of decoding a clip.
        decoding: bytes at the peak of decoding a clip, without weights.
        encoders: bytes of VAE and image encoder.
        itemsize: bytes of a frozen weight.
    """

    tokens: int
    batch_size: int
    blocks: int
    total: Denoiser
    block: Denoiser
    boundary: float
    working: float
    recomputing: float
    encode: float
    decode: float
    decoding: float
    encoders: float
    itemsize: int

    def step(self, recomputed: int = 0) -> float:
        """FLOP of a training step in which ``recomputed`` blocks run forward twice."""
        return self.total.forward + self.total.backward + recomputed * self.block.forward

    def prediction(self, steps: int, guidance: float, attempts: int = 1) -> float:
        """FLOP of the predictions of one query; guidance above 1 doubles the denoiser's calls."""
        calls = steps * (2 if guidance > 1 else 1)
        return attempts * (calls * self.total.forward / self.batch_size + self.decode)

    def activations(self, recomputed: int = 0) -> float:
        """Bytes of activations at the peak of a training step in which ``recomputed`` blocks run forward twice."""
        kept = self.total.activations - recomputed * (self.block.activations - self.boundary)
        # The last blocks are done with theirs when the first ones get theirs back, one at a time.
        return kept + (max(self.working, self.recomputing) if recomputed == self.blocks else self.working)

    @property
    def adapter(self) -> float:
        """Bytes of adapter, gradients and AdamW's state, all fp32."""
        return BYTES_PER_TRAINABLE * self.total.trainable
