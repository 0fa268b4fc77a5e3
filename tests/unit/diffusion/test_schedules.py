import math

import numpy as np
import pytest
from diffusers import DDIMScheduler

from guidebench.diffusion.schedules import (
    EDM,
    ContinuousVP,
    Cosine,
    Linear,
    NoiseSchedule,
    ScaledLinear,
    Table,
)
from guidebench.errors import ConfigError

TABLES = [ScaledLinear(), Linear(), Cosine(), Table(4, (0.1, 0.2, 0.3, 0.4))]
ALL = [*TABLES, ContinuousVP(), EDM()]


@pytest.mark.parametrize(
    ("schedule", "name"),
    [(ScaledLinear(), "scaled_linear"), (Linear(), "linear"), (Cosine(), "squaredcos_cap_v2")],
)
def test_tables_are_those_of_diffusers(schedule, name):
    theirs = DDIMScheduler(
        beta_schedule=name,
        beta_start=getattr(schedule, "beta_start", 0),
        beta_end=getattr(schedule, "beta_end", 0),
    )
    np.testing.assert_allclose(schedule.alphas_cumprod, theirs.alphas_cumprod.numpy(), rtol=5e-5, atol=1e-9)
    assert schedule.alphas_cumprod.dtype == np.float64


def test_known_coefficients():
    assert ScaledLinear().alpha(0) ** 2 == pytest.approx(1 - 0.00085, abs=1e-15)
    assert Linear().alpha(999) == pytest.approx(0.006352818, abs=1e-9)
    assert ContinuousVP().alpha(1.0) == pytest.approx(0.006571587, abs=1e-9)
    assert EDM().sigma(3.0) == 3.0 and EDM().alpha(3.0) == 1.0


@pytest.mark.parametrize("schedule", ALL, ids=repr)
def test_lam_is_consistent_and_invertible(schedule: NoiseSchedule):
    for share in (0.0, 0.013, 0.37, 0.5, 0.999, 1.0):
        t = schedule.t_min + share * (schedule.t_max - schedule.t_min)
        assert schedule.lam(t) == pytest.approx(math.log(schedule.alpha(t) / schedule.sigma(t)), abs=1e-10)
        assert schedule.time_of_lam(schedule.lam(t)) == pytest.approx(t, rel=1e-10, abs=1e-10)
        if not isinstance(schedule, EDM):
            assert schedule.alpha(t) ** 2 + schedule.sigma(t) ** 2 == pytest.approx(1.0, abs=1e-14)


@pytest.mark.parametrize("schedule", ALL, ids=repr)
def test_the_clean_time_is_clean_and_transfers_stay_finite(schedule: NoiseSchedule):
    assert schedule.alpha(schedule.t_clean) == 1.0 and schedule.sigma(schedule.t_clean) == 0.0
    assert schedule.lam(schedule.t_clean) == math.inf
    a, b = schedule.transfer(schedule.t_max, schedule.t_clean)
    assert a == 1 / schedule.alpha(schedule.t_max) and b == pytest.approx(-a * schedule.sigma(schedule.t_max))
    assert schedule.transfer(schedule.t_max, schedule.t_max) == (1.0, 0.0)


def test_golden_transfers_of_the_linear_table():
    """h, alpha ratio, c and the J coefficient of AdjointDEIS-1 at discrete nodes (specs: adjoint, section 9.1)."""
    schedule = Linear()
    for t, s, h, ratio, c, jacobian in [
        (500, 550, -0.2826921686, 1.3042196963, -0.3137314765, -0.4091747710),
        (0, 50, -2.8679036297, None, -0.1660008321, -0.1685440948),
        (949, 999, None, 1.6366016159, -0.6366226409, -1.0418976428),
    ]:
        a, b = schedule.transfer(s, t)
        assert b == pytest.approx(c, abs=1e-10)
        assert a * b == pytest.approx(jacobian, abs=1e-10)
        assert ratio is None or a == pytest.approx(ratio, abs=1e-10)
        assert h is None or schedule.lam(s) - schedule.lam(t) == pytest.approx(h, abs=1e-10)
        # the exponential form of the same coefficient
        step = schedule.lam(s) - schedule.lam(t)
        assert b == pytest.approx(schedule.sigma(s) * math.expm1(step) * a, rel=1e-11)


def test_continuous_vp_has_the_g_squared_of_its_betas():
    schedule, d = ContinuousVP(), 1e-6
    for t in (0.05, 0.5, 0.9):
        slope = (schedule.lam(t + d) - schedule.lam(t - d)) / (2 * d)
        assert -2 * schedule.sigma(t) ** 2 * slope == pytest.approx(0.1 + 19.9 * t, rel=1e-7)
        rho = (schedule.gamma(t + d) - schedule.gamma(t - d)) / (2 * d)
        g2 = 0.1 + 19.9 * t
        expected = schedule.alpha(schedule.t_min) / schedule.alpha(t) * g2 / (2 * schedule.sigma(t))
        assert rho == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("t", [1e-3, 0.01, 0.2, 0.5, 0.77, 1.0])
def test_gamma_inverse(t):
    schedule = ContinuousVP()
    assert schedule.time_of_gamma(schedule.gamma(t)) == pytest.approx(t, abs=1e-12)
    assert schedule.gamma(schedule.t_min) == 0.0


def test_refusals():
    with pytest.raises(ConfigError, match="outside the table"):
        ScaledLinear().alpha(1000)
    with pytest.raises(ConfigError, match="half log-SNR"):
        ScaledLinear().time_of_lam(20.0)
    with pytest.raises(ConfigError, match="make them equal"):
        Table(3, (0.1,))
