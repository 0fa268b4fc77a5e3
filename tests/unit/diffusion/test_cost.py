import torch

from guidebench.diffusion.cost import Cost, CountedModel


def test_backwards_are_counted_only_when_they_happen():
    model = CountedModel(torch.sin, rows=2)
    x = torch.ones(3, requires_grad=True)
    with torch.no_grad():
        model(x)
    assert model.cost == Cost(2, 0)
    y = model(x)
    assert model.cost == Cost(4, 0)
    (y * 0 + y).sum().backward(retain_graph=True)
    assert model.cost == Cost(4, 2)
    y.sum().backward()
    assert model.cost == Cost(4, 4)
    assert model.cost + Cost(1, 1) - Cost(2, 3) == Cost(3, 2)
