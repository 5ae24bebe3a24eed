import pytest
import torch

from fmboost_core.training.muon import Muon, orthogonal


@pytest.mark.parametrize("shape", [(192, 1728), (64, 64), (200, 50)])
def test_singular_values_become_equal_and_their_vectors_stay(shape):
    generator = torch.Generator().manual_seed(0)
    u, _, v = torch.linalg.svd(torch.randn(shape, generator=generator), full_matrices=False)
    values = torch.linspace(1, 0.1, min(shape))
    found = orthogonal(u * values @ v)
    along = u.T @ found @ v.T
    assert 0.6 < along.diagonal().min() < along.diagonal().max() < 1.25
    torch.testing.assert_close(along - along.diagonal().diag(), torch.zeros_like(along), atol=1e-3, rtol=0)


def test_nothing_stays_nothing():
    assert not orthogonal(torch.zeros(4, 6)).any()


@pytest.mark.skipif(
    not hasattr(torch.optim, "Muon"), reason=f"torch {torch.__version__} has no Muon to compare with"
)
def test_its_steps_are_torchs_but_for_rounding():
    torch.manual_seed(0)
    ours = torch.nn.Parameter(torch.randn(64, 32, 3, 3))
    theirs = torch.nn.Parameter(ours.detach().permute(0, 2, 3, 1).flatten(1).clone())
    start = theirs.detach().clone()
    optimisers = (
        Muon([ours], weight_decay=0.1),
        torch.optim.Muon([theirs], weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
    )
    for _ in range(5):
        ours.grad = torch.randn(ours.shape)
        theirs.grad = ours.grad.permute(0, 2, 3, 1).flatten(1).clone()
        for optimiser in optimisers:
            optimiser.param_groups[0]["lr"] = 0.01
            optimiser.step()
    apart = ours.detach().permute(0, 2, 3, 1).flatten(1) - theirs.detach()
    assert apart.norm() < 0.02 * (theirs.detach() - start).norm()  # torch computes them in bf16
