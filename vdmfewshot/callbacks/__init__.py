"""What happens around training: scores, pictures, exports, costs, loggers."""
