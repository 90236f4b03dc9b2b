"""Files: the container, images, folders; whole or not at all."""
