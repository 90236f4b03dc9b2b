import numpy as np

from lic_jax.encoding.sga import learning_rate, temperature


def test_three_thousand_steps_have_the_published_temperatures():
    """docs/design.md section 2: τ(t) = clip(0.5 · exp(−r (t − 200)), 1e-8, 0.5) with r = 5e-4."""
    step = np.arange(0, 3000, 7)
    published = np.clip(0.5 * np.exp(-5e-4 * (step - 200.0)), 1e-8, 0.5)
    np.testing.assert_allclose(temperature(step / 3000), published, rtol=1e-5)


def test_every_number_of_steps_ends_at_the_same_temperature():
    for steps in (50, 200, 10_000):
        of_step = np.asarray(temperature(np.arange(steps + 1) / steps))
        assert of_step[0] == 0.5 and np.all(np.diff(of_step) <= 0)
        np.testing.assert_allclose(of_step[-1], 0.5 * np.exp(-1.4), rtol=1e-5)


def test_the_learning_rate_is_the_published_one_for_three_thousand_steps_and_longer_for_fewer():
    np.testing.assert_allclose([learning_rate(p, 3000) for p in (0.0, 0.89)], 5e-3, rtol=1e-6)
    np.testing.assert_allclose([learning_rate(p, 3000) for p in (0.9, 1.0)], 5e-4, rtol=1e-6)
    assert learning_rate(0.5, 200) > learning_rate(0.5, 1000) > learning_rate(0.5, 3000)
