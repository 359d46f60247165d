"""Exports of labelling tools: one reader a format, all to the same pictures with labelled things."""
