"""Evaluation: how well a codec does.

- `metrics`: measures MSE, PSNR, MS-SSIM and blockiness of decoded images
- `rate_distortion`: compares rate–distortion curves by the Bjøntegaard delta
- `measurement`: measures a codec on a folder: bytes and times, an image and rate a row
- `classical`: compresses with JPEG, WebP and AVIF, to compare with
- `complexity`: counts a model's parameters and its operations per pixel
"""
