"""Distortions: what a codec minimizes beside the rate.

- `base`: defines rate and distortion, PSNR, and the pixels' range in the network
- `mse`: measures the mean squared error, the default distortion
- `ms_ssim`: measures 1 − MS-SSIM, in JAX
- `ssim`: holds the constants of MS-SSIM that NumPy's and JAX's versions share
"""
