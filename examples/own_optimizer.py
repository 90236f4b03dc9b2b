"""Your own optimizer and schedule: AdamW whose weight decay spares biases, and β that grows like a cosine."""

import jax
import optax

from lic_jax import registry
from lic_jax.quantization import annealing
from lic_jax.training.settings import AnchorSettings


def adamw(settings: AnchorSettings, steps: int) -> optax.GradientTransformation:
    """For `train_anchor(make_optimizer=...)`: a cosine from the settings' learning rate, decay on kernels alone."""
    is_kernel = lambda params: jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)
    return optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adamw(
            optax.cosine_decay_schedule(settings.learning_rate, max(steps, 1)), weight_decay=1e-4, mask=is_kernel
        ),
    )


def rows_alone(learning_rate: float = 1e-2) -> optax.GradientTransformation:
    """For `refit(optimizer=...)`: fits the rows' dead zones and levels, and leaves the staircase as it starts."""
    parts = lambda quantizers: jax.tree_util.tree_map_with_path(
        lambda path, _: "rows" if path[0].name == "widening" else "kept", quantizers
    )
    return optax.partition({"rows": optax.adam(learning_rate), "kept": optax.set_to_zero()}, parts)


def cosine(span: annealing.Range) -> annealing.Schedule:
    """β along half a cosine: slowly at both ends."""
    fall = optax.cosine_decay_schedule(1.0, span.steps)
    return annealing.by_step(lambda step: span.end - (span.end - span.start) * fall(step))


registry.SCHEDULES.register("cosine", cosine)
