"""Augmentation: views of images, made on the device in batches, with separate parameters for every view."""
