"""Configurations: an object as plain data, the arguments that it was made with, and an object of such data.

What is written names a class; what is read finds it among the classes that are there, and runs nothing else.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

functions: dict[str, Callable[..., Any]] = {}  # that may stand in a configuration by their names: activations


class Arguments:
    """What an object was made with, hidden from the search for modules and parameters."""

    __slots__ = ("named", "positional")

    def __init__(self, positional: tuple[Any, ...], named: dict[str, Any]):
        self.positional, self.named = positional, named


class WholeSignature:
    """A class's signature with what its constructor takes through **options, for `help` and editors."""

    def __get__(self, instance: Any, owner: Any) -> inspect.Signature:
        own = inspect.signature(getattr(owner, "cell_class", owner).__init__).parameters.values()
        places = [p.name for p in own if p.kind == p.POSITIONAL_OR_KEYWORD]
        found = sorted(owner.arguments().items(), key=lambda item: item[0] not in places)  # a stable sort
        kinds = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        return inspect.Signature(
            [inspect.Parameter(name, kinds[name in places], default=default) for name, default in found]
        )


class Configured:
    """Base of what has a configuration: `get_config` gives the arguments it was made with, `from_config` makes another."""

    made_with: Arguments
    __signature__ = WholeSignature()

    def __new__(cls, *positional: Any, **named: Any) -> Any:
        made = super().__new__(cls)
        made.made_with = Arguments(positional, named)
        return made

    @classmethod
    def arguments(cls) -> dict[str, Any]:
        """All that the constructor takes, also through **options, with the defaults."""
        found: dict[str, Any] = {}
        for base in cls.__mro__:
            init = vars(base).get("__init__")
            if init is None or base is object or base.__module__.startswith("tinygrad_rnn.rnn"):
                continue
            parameters = list(inspect.signature(init).parameters.values())[1:]
            for p in parameters:
                if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
                    found.setdefault(p.name, p.default)
            if not any(p.kind == p.VAR_KEYWORD for p in parameters):
                break
        return found

    def get_config(self) -> dict[str, Any]:
        """The arguments that this was made with, defaults included, as plain data that JSON can hold.

        Raises TypeError for an argument that is none, a random generator say.

        >>> import tinygrad_rnn as tg
        >>> config = tg.layers.Dense(2, activation="relu", kernel_regularizer="l2").get_config()
        >>> config["units"], config["activation"], config["kernel_regularizer"], config["use_bias"]
        (2, 'relu', 'l2', True)
        """
        known = self.arguments()
        given = dict(zip(known, self.made_with.positional, strict=False)) | self.made_with.named
        given = {key: value for key, value in (known | given).items() if value is not inspect.Parameter.empty}
        if "name" in known:
            given["name"] = getattr(self, "name", None)
        return {key: plain(f"{type(self).__name__}: {key}", value) for key, value in given.items()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Any:
        """A new object of a configuration, without the weights. custom_objects: functions and classes of one's own by name.

        Keras's own configurations will do where they ask for nothing that is not here.

        >>> import tinygrad_rnn as tg
        >>> tg.layers.GRU.from_config(tg.layers.GRU(3, return_sequences=True).get_config())
        GRU(return_sequences=True
          (cell): GRUCell(3, reset_after=True)
        )
        """
        known = cls.arguments()
        given = {key: built(f"{cls.__name__}: {key}", value, custom_objects or {}) for key, value in config.items()}
        idle = {"trainable": True, "implementation": 0, "quantization_config": None}
        return cls(**{k: v for k, v in given.items() if k in known or not (v is None or idle.get(k, ...) == v)})


def plain(where: str, value: Any) -> Any:
    """An argument as data that JSON can hold."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [plain(f"{where}[{i}]", v) for i, v in enumerate(value)]
    if isinstance(value, dict):
        return {str(k): plain(f"{where}[{k!r}]", v) for k, v in value.items()}
    if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic)):
        return np.dtype(value).name
    if callable(getattr(value, "get_config", None)) and not isinstance(value, type):
        kind = type(value)
        return {"module": kind.__module__, "class_name": kind.__name__, "config": value.get_config()}
    for name, function in functions.items():
        if value is function:
            return name
    if inspect.isfunction(value) and value.__name__ != "<lambda>":
        return {"class_name": "function", "config": value.__name__}
    raise TypeError(
        f"{where} is {type(value).__name__} {value!r:.60}, which a configuration cannot hold; give a name, a number, a "
        "function that was defined with def, or an object with get_config()"
    )


def built(where: str, value: Any, custom: Mapping[str, Any]) -> Any:
    """An argument of plain data."""
    if isinstance(value, (list, tuple)):
        return [built(f"{where}[{i}]", v, custom) for i, v in enumerate(value)]
    if not isinstance(value, dict) or "class_name" not in value:
        return value
    name, config = value["class_name"], value.get("config", {})
    if name == "DTypePolicy":  # of Keras
        return config["name"]
    if name == "function":
        if config in custom or config in functions:
            return custom.get(config, functions.get(config))
        raise ValueError(f"{where} is the function {config!r}; give it in custom_objects={{{config!r}: …}}")
    kind = custom.get(name) or _class(name, value.get("module"))
    if kind is None:
        raise ValueError(f"{where} is a {name!r}, which is no class here; give it in custom_objects={{{name!r}: …}}")
    if issubclass(kind, Configured):
        return kind.from_config(config, custom)
    return kind.from_config(config) if hasattr(kind, "from_config") else kind(**config)


def _class(name: str, module: str | None) -> type[Configured] | None:
    """The class of this name among those defined so far: of the module named, else the first."""
    found = [c for c in _subclasses(Configured) if c.__name__ == name]
    return next((c for c in found if c.__module__ == module), found[0] if found else None)


def _subclasses(cls: type[Configured]) -> Iterator[type[Configured]]:
    for one in cls.__subclasses__():
        yield one
        yield from _subclasses(one)
