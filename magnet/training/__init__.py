"""Training a segmenter and its refiners: configuration, augmentation, the two stages, checkpoints."""
