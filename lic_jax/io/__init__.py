"""Files.

- `container`: packs a stream's header and segments into bytes, and unpacks them
- `files`: reads and writes files, whole or not at all
- `images`: reads image files as uint8 RGB arrays, and writes them
- `folders`: compresses the images of a folder, and goes on where it was interrupted
- `tables`: reads and writes CSV files of named tuples
"""
