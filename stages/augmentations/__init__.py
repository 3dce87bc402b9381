"""Augmentations: one file each. An augmentation makes views of what is trained on, other ones in each epoch."""
