"""What generated video and generated tasks draw with."""
