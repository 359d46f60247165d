"""Few-shot visual learning with frozen video diffusion models."""

__version__ = "0.1.0"
