"""Golden files of PyTorch's optimisers, gradient clipping and learning-rate schedules, on stored gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from golden_io import Arrays, Source, save
from torch import Tensor, optim

STEPS = 50
SHAPES = {"w": (4, 3), "b": (3,)}
COMMAND = "python tests/reference/make_golden.py optim"

OPTIMISERS: dict[str, tuple[type[optim.Optimizer], dict[str, Any]]] = {
    "sgd": (optim.SGD, {"lr": 0.1}),
    "sgd_momentum": (optim.SGD, {"lr": 0.1, "momentum": 0.9}),
    "sgd_nesterov": (optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    "sgd_weight_decay": (optim.SGD, {"lr": 0.1, "weight_decay": 0.01}),
    "sgd_momentum_weight_decay": (optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
    "rmsprop": (optim.RMSprop, {"lr": 0.01}),
    "rmsprop_centered": (optim.RMSprop, {"lr": 0.01, "centered": True}),
    "rmsprop_momentum": (optim.RMSprop, {"lr": 0.01, "momentum": 0.9}),
    "rmsprop_weight_decay": (optim.RMSprop, {"lr": 0.01, "weight_decay": 0.01}),
    "adam": (optim.Adam, {"lr": 0.01}),
    "adam_weight_decay": (optim.Adam, {"lr": 0.01, "weight_decay": 0.01}),
    "adamw": (optim.AdamW, {"lr": 0.01, "weight_decay": 0.01}),
}

LR = 0.1
Schedule = Callable[[optim.Optimizer], optim.lr_scheduler.LRScheduler]
SCHEDULES: dict[str, tuple[str, dict[str, Any], Schedule]] = {
    "step": ("StepLR", {"step_size": 12, "gamma": 0.5}, lambda o: optim.lr_scheduler.StepLR(o, 12, 0.5)),
    "cosine": (
        "CosineAnnealingLR",
        {"T_max": STEPS, "eta_min": 0.001},
        lambda o: optim.lr_scheduler.CosineAnnealingLR(o, STEPS, 0.001),
    ),
    "cosine_zero": (
        "CosineAnnealingLR",
        {"T_max": STEPS - 1, "eta_min": 0.0},
        lambda o: optim.lr_scheduler.CosineAnnealingLR(o, STEPS - 1, 0.0),
    ),
}


def meta_of(source: Source, call: str, options: dict[str, Any], layouts: dict[str, str]) -> dict[str, Any]:
    return {
        "library": "PyTorch",
        "versions": {"torch": torch.__version__},
        "call": call,
        "options": options,
        "layouts": layouts,
        "loss": "none: the gradients are given",
        "dtype": "float64",
        "command": COMMAND,
        "seed": source.seed,
    }


def problem() -> tuple[Source, Arrays, Arrays]:
    """Parameters and 50 gradients for each: common drift, noise, sizes from 0.01 to 10 and a few exact zeros."""
    source = Source("optim", "float64")
    start = {key: source.normal(*shape) for key, shape in SHAPES.items()}
    grads = {}
    for key, shape in SHAPES.items():
        size = 10.0 ** source.rng.uniform(-2.0, 1.0, shape)
        grads[key] = size * (source.normal(*shape) + source.normal(STEPS, *shape))
        grads[key][source.rng.random((STEPS, *shape)) < 0.05] = 0.0
    return source, start, grads


def run_optimiser(name: str, start: Arrays, grads: Arrays) -> tuple[Arrays, dict[str, Any]]:
    """The parameters after every step, and the hyperparameters; gradients are given, so no model is needed."""
    cell_type, given = OPTIMISERS[name]
    params = {key: torch.tensor(value, requires_grad=True) for key, value in start.items()}
    optimiser = cell_type(list(params.values()), foreach=False, **given)
    steps: dict[str, list[np.ndarray]] = {key: [] for key in params}
    for t in range(STEPS):
        for key, param in params.items():
            param.grad = torch.tensor(grads[key][t])
        optimiser.step()
        for key, param in params.items():
            steps[key].append(param.detach().numpy().copy())
    for key, values in steps.items():
        if not all(np.any(now != before) for before, now in zip([start[key], *values], values, strict=False)):
            raise AssertionError(f"{name}: a step left {key} as it was")
    unused = {"foreach", "maximize", "capturable", "differentiable", "fused", "decoupled_weight_decay"}
    hyperparameters = {key: value for key, value in optimiser.defaults.items() if key not in unused}
    options = {"optimiser": cell_type.__name__, "given": given, "hyperparameters": hyperparameters}
    return {f"steps/{name}/{key}": np.stack(values) for key, values in steps.items()}, options


def make_steps() -> None:
    """All optimisers on the same start and the same gradients."""
    source, start, grads = problem()
    arrays = {f"param/{key}": value for key, value in start.items()}
    arrays |= {f"gradients/{key}": value for key, value in grads.items()}
    options: dict[str, Any] = {}
    for name in OPTIMISERS:
        steps, options[name] = run_optimiser(name, start, grads)
        arrays |= steps
    layouts = {
        "param/*": "the parameters before the first step",
        "gradients/*": "(50, ...): the gradient of each step",
        "steps/NAME/*": "(50, ...): the parameters after each step of the optimiser NAME, told in options[NAME]",
    }
    call = "options[NAME]['optimiser'](params, **options[NAME]['given']), then 50 times: .grad = gradients[t], .step()"
    save("torch_optim_steps", arrays, meta_of(source, call, options, layouts))


def make_clipping() -> None:
    """clip_grad_norm_ and clip_grad_value_ on gradients above and below their bounds, both parameters together."""
    source, _, grads = problem()
    small = {key: value[:10] * 0.003 for key, value in grads.items()}
    sets = {key: np.concatenate([grads[key][:10], small[key]]) for key in grads}
    arrays: Arrays = {f"gradients/{key}": value for key, value in sets.items()}
    count = len(sets["w"])

    def clip(t: int, how: Callable[[list[Tensor]], Any]) -> tuple[dict[str, np.ndarray], Any]:
        params = {key: torch.zeros(value.shape[1:], dtype=torch.float64) for key, value in sets.items()}
        for key, param in params.items():
            param.grad = torch.tensor(sets[key][t])
        options = how(list(params.values()))
        return {key: param.grad.numpy().copy() for key, param in params.items() if param.grad is not None}, options

    norms = []
    by_norm, by_value = [], []
    for t in range(count):
        clipped, total = clip(t, lambda params: torch.nn.utils.clip_grad_norm_(params, 1.0, foreach=False))
        by_norm.append(clipped)
        norms.append(float(total))
        by_value.append(clip(t, lambda params: torch.nn.utils.clip_grad_value_(params, 0.5, foreach=False))[0])
    if not min(norms) < 1.0 < max(norms):
        raise AssertionError("clipping: the norms should lie on both sides of the bound")
    arrays["norm"] = np.array(norms)
    arrays |= {f"by_norm/{key}": np.stack([one[key] for one in by_norm]) for key in sets}
    arrays |= {f"by_value/{key}": np.stack([one[key] for one in by_value]) for key in sets}
    layouts = {
        "gradients/*": "(20, ...): twenty sets of gradients, w and b belong together; the last ten are small",
        "norm": "(20,): the norm of w and b together before clipping, as clip_grad_norm_ returns it",
        "by_norm/*": "after clip_grad_norm_: times min(1, max_norm / (norm + 1e-6)), note the 1e-6",
        "by_value/*": "after clip_grad_value_",
    }
    call = (
        "torch.nn.utils.clip_grad_norm_([w, b], max_norm=1.0); torch.nn.utils.clip_grad_value_([w, b], clip_value=0.5)"
    )
    save("torch_optim_clip", arrays, meta_of(source, call, {"max_norm": 1.0, "clip_value": 0.5}, layouts))


def make_schedules() -> None:
    """The learning rate in force during each of 50 steps: the scheduler steps after the optimiser."""
    source = Source("schedules", "float64")
    arrays: Arrays = {}
    options: dict[str, Any] = {"lr": LR}
    for name, (title, given, schedule) in SCHEDULES.items():
        optimiser = optim.SGD([torch.zeros(1, requires_grad=True)], lr=LR)
        scheduler = schedule(optimiser)
        rates = []
        for _ in range(STEPS):
            rates.append(optimiser.param_groups[0]["lr"])
            optimiser.step()
            scheduler.step()
        arrays[f"lr/{name}"] = np.array(rates)
        options[name] = {"scheduler": title, **given}
    layouts = {"lr/*": "(50,): the learning rate in force during step 0 .. 49, the first is lr itself"}
    call = (
        "torch.optim.lr_scheduler.StepLR and CosineAnnealingLR on SGD(lr=0.1); scheduler.step() after optimiser.step()"
    )
    save("torch_optim_schedules", arrays, meta_of(source, call, options, layouts))


def main() -> None:
    torch.set_num_threads(1)
    make_steps()
    make_clipping()
    make_schedules()
