"""The command line `lic`.

- `main`: sends a command line to the receiver's parser or to the sender's
- `receiver`: decompresses, describes and transcodes streams, with NumPy alone
- `sender`: compresses images, measures codecs, trains anchors and fits quantizers
"""
