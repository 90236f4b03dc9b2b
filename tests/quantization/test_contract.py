"""Every registered quantizer keeps its contract; so does one that LIC_PLUGINS names."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from lic_jax import registry
from lic_jax.errors import LicError
from lic_jax.quantization.contract import check_quantizer
from lic_jax.quantization.stanh import STanH
from lic_jax.training.refit import start_quantizers
from lic_jax.training.settings import RefitSettings

registry.import_plugins()


@pytest.mark.parametrize("name", tuple(registry.QUANTIZERS))
def test_registered_quantizers_keep_their_contract(name):
    check_quantizer(name, registry.QUANTIZERS[name])


@struct.dataclass
class Uniform:
    """A quantizer that keeps its contract, to be broken one rule at a time."""

    step: jnp.ndarray
    components: int = struct.field(pytree_node=False)

    @classmethod
    def start(cls, components, step, reach):
        return cls(jnp.float32(step), components)

    @property
    def thresholds(self):
        return self.step[..., None] * (jnp.arange(self.components) - (self.components - 1) / 2)

    @property
    def levels(self):
        return self.step[..., None] * (jnp.arange(self.components + 1) - self.components / 2)

    def upper_weight(self, values, index, inverse_temperature):
        return 0.5 + jnp.tanh(inverse_temperature * (values - self.thresholds[index])) / 2

    def symmetric(self):
        return self


def test_a_quantizer_of_few_lines_keeps_it():
    check_quantizer("uniform", Uniform)


def test_members_may_be_fields():
    @struct.dataclass
    class Fields(Uniform):
        thresholds: jnp.ndarray = None
        levels: jnp.ndarray = None

        @classmethod
        def start(cls, components, step, reach):
            uniform = Uniform.start(components, step, reach)
            return cls(uniform.step, components, uniform.thresholds, uniform.levels)

    check_quantizer("fields", Fields)


def test_a_fit_may_be_prepared_inside_a_program(tiny_config):
    check_quantizer.cache_clear()
    settings = RefitSettings(lambdas=(0.01,), latent_components=6)
    inside, outside = (
        make()
        for make in (
            jax.jit(lambda: start_quantizers(tiny_config, settings, 0.01).latent.levels),
            lambda: start_quantizers(tiny_config, settings, 0.01).latent.levels,
        )
    )
    np.testing.assert_allclose(inside, outside, rtol=1e-6)


@pytest.mark.parametrize(
    ("member", "broken", "message"),
    [
        ("start", classmethod(lambda cls, components, step: cls(jnp.float32(step), components)), "takes 3 positional"),
        ("thresholds", property(lambda self: jnp.arange(self.components) - 2.5), r"of two .* \(6,\), not \(2, 6\)"),
        ("levels", property(lambda self: self.thresholds), r"levels of one .* \(6,\), not \(7,\)"),
        ("levels", property(lambda self: -self.step[..., None] * jnp.arange(7.0)), "levels do not increase"),
        ("upper_weight", lambda self, values, index, beta: values * 0 + 0.3, "at the thresholds is .*, not 0.5"),
        (
            "upper_weight",
            lambda self, values, index, beta: 0.5 + jnp.sqrt(jnp.abs(values - self.thresholds[index])),
            "a gradient that is not finite",
        ),
        ("symmetric", lambda self: STanH.start(6, 0.5, 4.0).replace(middle=jnp.float32(1)), "not alike on both sides"),
    ],
)
def test_a_broken_rule_is_named(member, broken, message):
    kind = type("Broken", (Uniform,), {member: broken})
    with pytest.raises(LicError, match=f"quantizer 'broken' breaks its contract: .*{message}"):
        check_quantizer("broken", struct.dataclass(kind))


def test_a_missing_member_is_named_before_a_fit(monkeypatch, tiny_config):
    monkeypatch.setitem(registry.QUANTIZERS._homes, "none", np.ndarray)
    with pytest.raises(LicError, match="quantizer 'none' breaks its contract: it has no start; a quantizer has"):
        start_quantizers(tiny_config, RefitSettings(quantizer="none"), 0.01)
