"""What training, prediction and start-up cost, as ratios measured in one run."""
