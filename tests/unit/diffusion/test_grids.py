import numpy as np
import pytest
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler

from guidebench.diffusion.grids import (
    Explicit,
    Karras,
    Leading,
    Linspace,
    Quadratic,
    Trailing,
    UniformLambda,
    check_times,
)
from guidebench.diffusion.schedules import EDM, ContinuousVP, Linear, ScaledLinear
from guidebench.errors import ConfigError

SD = ScaledLinear()


@pytest.mark.parametrize("n_steps", [7, 20, 50])
@pytest.mark.parametrize(
    ("grid", "spacing", "offset"),
    [
        (Leading(0), "leading", 0),
        (Leading(1), "leading", 1),
        (Trailing(), "trailing", 0),
        (Linspace("clean"), "linspace", 0),
    ],
)
def test_network_times_are_those_of_ddim_in_diffusers(grid, spacing, offset, n_steps):
    theirs = DDIMScheduler(timestep_spacing=spacing, steps_offset=offset)
    theirs.set_timesteps(n_steps)
    assert list(grid(SD, n_steps)[:-1]) == theirs.timesteps.tolist()


def test_linspace_is_that_of_dpm_solver_and_adjoint_deis():
    theirs = DPMSolverMultistepScheduler(timestep_spacing="linspace", final_sigmas_type="sigma_min")
    theirs.set_timesteps(20)
    times = Linspace()(Linear(), 20)
    assert list(times[:-1]) == theirs.timesteps.tolist()
    assert times[:3] == (999, 949, 899) and times[10:12] == (500, 450) and times[-2:] == (50, 0)


def test_stable_diffusion_ends():
    assert Leading(0)(SD, 50)[:2] == (980, 960)
    assert Leading(0)(SD, 50)[-3:] == (20, 0, 0)
    assert Leading(1)(SD, 50)[-2:] == (1, 0)
    assert Leading(1, "clean")(SD, 50)[-1] == -1


@pytest.mark.parametrize("n_steps", [1, 2, 3, 334, 501, 700])
def test_leading_that_begins_in_the_middle_of_the_chain_says_so(n_steps):
    with pytest.warns(UserWarning, match=r"pure noise.*Trailing"):
        Leading()(SD, n_steps)
    assert Trailing()(SD, n_steps)[0] == 999


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("n_steps", [4, 5, 10, 50, 333, 400, 500, 800, 1000])
def test_leading_that_begins_in_noise_does_not(n_steps):
    assert Leading()(SD, n_steps)[0] >= 750


def test_leading_with_every_index():
    assert Leading(0)(SD, 1000)[0] == 999
    with pytest.raises(ConfigError, match=r"begin at index 1000 of 1000.*Trailing"):
        Leading(1)(SD, 1000)


def test_karras_levels():
    times = Karras()(EDM(), 20)
    ramp = (80 ** (1 / 7) + np.arange(20) / 19 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    np.testing.assert_allclose(times, [*ramp, 0.0], rtol=1e-12)


def test_uniform_lambda_and_quadratic():
    vp = ContinuousVP()
    lams = [vp.lam(t) for t in UniformLambda()(vp, 10)]
    np.testing.assert_allclose(np.diff(lams), np.diff(lams)[0], rtol=1e-9)
    roots = np.sqrt(np.array(Quadratic()(vp, 10)) - vp.t_min)
    np.testing.assert_allclose(np.diff(roots), np.diff(roots)[0], rtol=1e-6)
    assert all(t == int(t) for t in UniformLambda()(SD, 10))
    assert any(t != int(t) for t in UniformLambda(on_table=False)(SD, 10))


def test_checks():
    assert check_times([20, 0, 0]) == (20.0, 0.0)
    assert check_times([0, 5, 20]) == (0.0, 5.0, 20.0)
    for bad in ([5, 5], [3], [9, 9, 3], [9, 3, 5]):
        with pytest.raises(ConfigError, match=r"sampler\.grid"):
            check_times(bad)
    with pytest.raises(ConfigError, match="n_steps"):
        Leading()(SD, 2000)
    with pytest.raises(ConfigError, match="table indices"):
        Leading()(ContinuousVP(), 5)
    with pytest.raises(ConfigError, match=r"n_steps \+ 1"):
        Explicit((3.0, 0.0))(SD, 2)
    with pytest.raises(ConfigError, match="t_min"):
        Leading(final="one")(SD, 5)
