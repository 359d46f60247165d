"""Transition clips of many synthetic tasks, for the weights `embedded-tasks`; see `families` for what is kept back."""
