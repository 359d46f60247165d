"""Does video pretraining make few-shot visual learning work? Tasks, controls, one command, a table and a figure."""
