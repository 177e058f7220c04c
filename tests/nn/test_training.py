"""Training as in PyTorch: 50 steps of SGD and Adam from the same initial values, with both biases trained."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from reference import load

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim


class Net(tg.Module):
    """The model that the golden file trained."""

    def __init__(self, module: str, **options: Any):
        self.net = getattr(nn, module)(3, 4, batch_first=True, dtype=np.float64, **options)
        self.head = nn.Linear(4 * self.net.directions, 2, dtype=np.float64)

    def forward(self, x: Any, impl: str) -> Any:
        return self.head(self.net(x, impl=impl)[0])


@pytest.mark.parametrize("impl", ["fused", "unrolled"])
@pytest.mark.parametrize("name", ["sgd", "adam"])
@pytest.mark.parametrize("cls", ["rnn", "lstm", "gru"])
def test_fifty_training_steps_match_pytorch(cls: str, name: str, impl: str) -> None:
    golden = load(f"torch_optim_training_{cls}")
    options = dict(golden.meta["options"])
    settings = options.pop("optimisers")[name]
    model = Net(**options)
    model.load_state_dict(golden.under("start"))
    optimiser = {"sgd": optim.SGD, "adam": optim.Adam}[name](model.parameters(), **settings)
    losses = []
    for _ in range(50):
        optimiser.zero_grad()
        loss = tg.mse(model(golden["x"], impl), tg.tensor(golden["y"]))
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    np.testing.assert_allclose(losses, golden[f"losses/{name}"], rtol=1e-9)
    after = golden.under(f"after/{name}")
    assert list(model.state_dict()) == list(after)
    for key, value in model.state_dict().items():
        np.testing.assert_allclose(value, after[key], rtol=0, atol=1e-8, err_msg=key)
