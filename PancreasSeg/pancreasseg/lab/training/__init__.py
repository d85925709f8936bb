"""Training of networks: cases, augmentation, loss, the training loop, and the export as a model package."""
