"""Torch: networks and their parts, masking, training, checkpoints, public encoders."""
