"""What a run costs and how it is made to fit; knows sizes, not backbones."""
