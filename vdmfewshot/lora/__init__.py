"""Adapters: inject, save, load, verify, export, stack."""
