"""Files: the container, images, folders, tables; whole or not at all."""
