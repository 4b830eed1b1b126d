"""Pre-training on recordings without actions and rewards: an encoder, and a model of progress."""
