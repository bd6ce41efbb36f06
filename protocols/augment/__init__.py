"""Views of images, made on the device, a batch at a time, every view with parameters of its own."""
