"""Greedy guidance: at each step, the predicted noise that the loss likes best."""

import torch
from torch import Tensor

from guidebench.methods.posterior.guidance import Guidance
from guidebench.methods.posterior.likelihood import rowwise
from guidebench.methods.posterior.stage import Stage


class Greedy(Guidance):
    r"""Optimise the predicted noise of each step for the loss at the one-step estimate, and keep the best.

        e_0 = eps_hat;   e_(i+1) = Adam(e_i, grad_e l((x_t - sigma_t e) / alpha_t));   eps' = argmin_i l

    Cost per stage: one forward of the network, n_opt + 1 forwards and backwards of the loss.

    Args:
        scale: Adam's learning rate (paper: 0.01); 0 is unguided sampling itself.
        n_opt: optimisation steps (paper: 50).

    References: Blasingame & Liu, "Greedy-DiM: Greedy Algorithms for Unreasonably Effective Face Morphs", IJCB 2024,
    Algorithm 1.
    """

    paper = "Greedy-DiM (Blasingame & Liu 2024)"
    backpropagates = False

    def __init__(self, scale: float = 0.01, n_opt: int = 50) -> None:
        self.scale, self.n_opt = scale, n_opt

    @property
    def losses_per_stage(self) -> int:
        return self.n_opt + 1

    def guide(self, stage: Stage) -> Tensor:
        eps = stage.eps.clone().requires_grad_()
        optimizer = torch.optim.Adam([eps], lr=self.scale, betas=(0.5, 0.9))
        best, lowest = stage.eps, torch.full_like(stage.eps.flatten(1)[:, 0], torch.inf)
        for _ in range(self.n_opt + 1):
            with torch.enable_grad():
                loss = stage.loss(stage.estimated(eps)[None])[0]
                (eps.grad,) = torch.autograd.grad(loss.sum(), eps)
            loss = loss.detach()
            better = loss < lowest
            best = torch.where(rowwise(better, best), eps.detach(), best)
            lowest = torch.where(better, loss, lowest)
            lowest = torch.where(loss.isfinite(), lowest, torch.nan)  # for good: the row fails by it
            optimizer.step()
        stage.logged["loss"] = lowest
        return best
