"""What does fitting seven quantizers at once cost, against fitting one?

    python benchmarks/refit.py

One step of each, same process, same batch, T = 60 and z fitted, for two anchors: the shipped model, whose analysis was
kept small for training on two cores, and the same receiver with an analysis of the published width (random weights).
"""

import dataclasses

import jax
import numpy as np
from timing import median_seconds

from lic_jax.distortion.base import to_network_domain
from lic_jax.model import CodecModel, initialize
from lic_jax.training.refit import refit
from lic_jax.training.settings import LAMBDAS, RefitSettings
from lic_jax.zoo import shipped
from lic_jax.zoo.bundle import load_bundle


def main() -> None:
    bundle = load_bundle(shipped.path_of())
    wide = dataclasses.replace(bundle.config, analysis_channels=(256, 256, 256))
    wide_analysis = initialize(wide, jax.random.key(0))["analysis"]
    anchors = {
        "the shipped model": (bundle.config, bundle.params),
        "with analysis 256, 256, 256": (wide, {**bundle.params, "analysis": wide_analysis}),
    }
    pixels = np.random.default_rng(0).integers(0, 256, (8, 128, 128, 3), dtype=np.uint8)
    print("one refit step on 8 crops of 128×128, median ms")
    print(f"{'anchor':28} {'analysis':>9} {'one λ':>9} {'seven λ':>9} {'ratio':>6}")
    for name, (config, params) in anchors.items():
        model = CodecModel(config)
        functions = {
            "analysis": analysis(model, params, pixels),
            "one": refit_step(model, params, pixels, (0.01,)),
            "seven": refit_step(model, params, pixels, LAMBDAS),
        }
        ms = {which: 1e3 * seconds for which, seconds in median_seconds(functions, rounds=7).items()}
        ratio = ms["seven"] / ms["one"]
        print(f"{name:28} {ms['analysis']:9.0f} {ms['one']:9.0f} {ms['seven']:9.0f} {ratio:6.2f}", flush=True)


def analysis(model, params, pixels):
    encode = jax.jit(lambda pixels: model.apply({"params": params}, to_network_domain(pixels), method="encode"))
    return lambda: encode(pixels)


def refit_step(model, params, pixels, lambdas):
    settings = RefitSettings(lambdas=lambdas, latent_components=60, hyper_components=60, hyper_quantizer="fitted")
    process = refit(model, params, settings, anchor_lambda=0.01)
    state = process.init()
    return lambda: process.update(state, pixels)


if __name__ == "__main__":
    main()
