"""Training: from labelled frames to a model file."""
