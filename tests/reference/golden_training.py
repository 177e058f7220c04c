"""Golden file of PyTorch training: small recurrent nets with a linear head, 50 steps of SGD and of Adam."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from golden_io import Arrays, Source, save
from torch import nn, optim

B, T, D, H, OUT = 4, 5, 3, 4, 2
STEPS = 50
COMMAND = "python tests/reference/make_golden.py training"
NETS: dict[str, dict[str, Any]] = {
    "rnn": {"module": "RNN", "nonlinearity": "tanh"},
    "lstm": {"module": "LSTM", "num_layers": 2},
    "gru": {"module": "GRU", "bidirectional": True},
}
OPTIMISERS: dict[str, tuple[type[optim.Optimizer], dict[str, Any]]] = {
    "sgd": (optim.SGD, {"lr": 0.1, "momentum": 0.9}),
    "adam": (optim.Adam, {"lr": 0.02}),
}


def build(case: str) -> tuple[nn.Module, nn.Module]:
    options = {key: value for key, value in NETS[case].items() if key != "module"}
    net = getattr(nn, NETS[case]["module"])(D, H, batch_first=True, dtype=torch.float64, **options)
    return net, nn.Linear(H * (2 if options.get("bidirectional") else 1), OUT, dtype=torch.float64)


def train(case: str, name: str, start: Arrays, x: torch.Tensor, y: torch.Tensor) -> Arrays:
    """The losses before each step, and every parameter after the last."""
    parts = dict(zip(("net", "head"), build(case), strict=True))
    for part, module in parts.items():
        module.load_state_dict({key: torch.tensor(start[f"{part}.{key}"]) for key in module.state_dict()})
    make, options = OPTIMISERS[name]
    optimiser = make([p for module in parts.values() for p in module.parameters()], **options)
    losses = []
    for _ in range(STEPS):
        optimiser.zero_grad()
        loss = nn.functional.mse_loss(parts["head"](parts["net"](x)[0]), y)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    if not losses[-1] < 0.5 * losses[0]:
        raise AssertionError(f"{case}, {name}: the loss went from {losses[0]} to {losses[-1]}")
    parameters = {f"{part}.{key}": p for part, module in parts.items() for key, p in module.named_parameters()}
    finals = {f"after/{name}/{key}": p.detach().numpy().copy() for key, p in parameters.items()}
    return {f"losses/{name}": np.array(losses), **finals}


def main() -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for case in NETS:
        source = Source(f"training_{case}", "float64")
        x, y = source.normal(B, T, D), source.normal(B, T, OUT)
        modules = zip(("net", "head"), build(case), strict=True)
        shapes = {f"{part}.{key}": p.shape for part, module in modules for key, p in module.named_parameters()}
        start = {key: source.weight(*shape) for key, shape in shapes.items()}
        arrays = {"x": x, "y": y, **{f"start/{key}": value for key, value in start.items()}}
        for name in OPTIMISERS:
            arrays |= train(case, name, start, torch.from_numpy(x), torch.from_numpy(y))
        meta = {
            "library": "PyTorch",
            "versions": {"torch": torch.__version__},
            "call": f"head(net(x)[0]) against y by mse_loss, {STEPS} steps; net = torch.nn.{NETS[case]['module']}(3, 4, "
            "batch_first=True, **options), head = torch.nn.Linear",
            "options": {**NETS[case], "optimisers": {name: given for name, (_, given) in OPTIMISERS.items()}},
            "layouts": {
                "start/*": "the parameters before the first step, by net.NAME and head.NAME",
                "after/OPTIMISER/*": "the parameters after the last step",
                "losses/OPTIMISER": f"({STEPS},): the loss before each step",
            },
            "loss": "mse_loss(output, y)",
            "dtype": "float64",
            "command": COMMAND,
            "seed": source.seed,
        }
        save(f"torch_optim_training_{case}", arrays, meta)
