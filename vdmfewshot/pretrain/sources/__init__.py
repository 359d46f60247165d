"""Families of clips that the pretraining corpus mixes; one module per family."""
