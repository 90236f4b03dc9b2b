"""How far an image is from its original, and what a codec minimizes: distortions, PSNR, rate and distortion."""
