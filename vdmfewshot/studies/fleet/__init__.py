"""More tasks than one stack holds, on one machine: ``vdmfewshot fleet``."""
