"""Builds the C decoder where there is a compiler; without one the package installs all the same, and decodes in NumPy.

Everything else about the package stands in pyproject.toml.
"""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "lic_jax.codec._native",
            ["native/lic.c", "native/threads.c"],
            depends=["native/lic.h", "native/threads.h"],
            include_dirs=["native"],
            libraries=["m", "pthread"],
            extra_compile_args=["-std=c99", "-O3", "-ffp-contract=off", "-fno-trapping-math", "-fno-math-errno"],
            optional=True,
        )
    ]
)
