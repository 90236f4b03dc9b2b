"""How fast are our transposed convolutions against `jax.lax.conv_transpose`, forward and gradient?

    python benchmarks/transposed_convolution.py

The floor is the arithmetic without a single multiplied zero, at this machine's measured matrix rate.
"""

import jax
from timing import matrix_flops_per_second, median_seconds

from lic_jax.transforms import convolution

CASES = {
    "13×13 s8, 320→12, a 768×512 image": (1, 32, 48, 320, 12, 13, 8),
    "13×13 s8, 320→12, 8 crops of 128×128": (8, 8, 8, 320, 12, 13, 8),
    "13×13 s8, 320→24, 8 crops of 128×128": (8, 8, 8, 320, 24, 13, 8),
    "18×18 s16, 320→3, a 768×512 image": (1, 32, 48, 320, 3, 18, 16),
    "5×5 s2, 24→3, 8 crops of 128×128": (8, 64, 64, 24, 3, 5, 2),
}


def lax_reference(inputs, kernel, stride):
    return jax.lax.conv_transpose(inputs, kernel, (stride, stride), "SAME", transpose_kernel=True)


FORMS = {
    "lax": lax_reference,
    "phases": convolution.transposed_convolution_phases,
    "groups": convolution.transposed_convolution_phase_groups,
    "chosen": convolution.transposed_convolution,
}


def main() -> None:
    rate = matrix_flops_per_second()
    print(f"matrix product: {rate / 1e9:.0f} GFLOP/s; times in ms, medians; × is lax's time over the chosen form's")
    print(f"{'case':38} {'':9} {'floor':>7}" + "".join(f"{name:>13}" for name in FORMS) + f"{'×':>7}")
    for case, (batch, height, width, channels, out, kernel_size, stride) in CASES.items():
        key = jax.random.key(0)
        inputs = jax.random.normal(key, (batch, height, width, channels))
        kernel = jax.random.normal(key, (kernel_size, kernel_size, out, channels))
        flops = 2 * batch * height * width * channels * out * kernel_size**2
        for direction, passes in (("forward", 1), ("gradient", 3)):
            functions = {name: runner(form, direction, inputs, kernel, stride) for name, form in FORMS.items()}
            seconds = median_seconds(functions, rounds=7)
            row = "".join(f"{1e3 * seconds[name]:13.2f}" for name in FORMS)
            ratio = seconds["lax"] / seconds["chosen"]
            print(f"{case:38} {direction:9} {1e3 * passes * flops / rate:7.2f}{row}{ratio:7.1f}", flush=True)


def runner(form, direction, inputs, kernel, stride):
    """A compiled call of one form, forward or with the gradient in inputs and kernel."""
    forward = lambda inputs, kernel: form(inputs, kernel, stride)
    gradient = jax.grad(lambda inputs, kernel: (forward(inputs, kernel) ** 2).sum(), (0, 1))
    run = jax.jit(forward if direction == "forward" else gradient)
    return lambda: run(inputs, kernel)


if __name__ == "__main__":
    main()
