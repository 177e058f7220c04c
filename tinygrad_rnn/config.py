"""Configurations: the constructor's arguments of an object as plain data, and objects created from such data.

A configuration names a class. Reading one looks the class up among those that are defined, and executes no other code.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

functions: dict[str, Callable[..., Any]] = {}  # functions that a configuration refers to by name: activations


class ConstructorArguments:
    """The constructor's arguments of an object, hidden from the search for modules and parameters."""

    __slots__ = ("named", "positional")

    def __init__(self, positional: tuple[Any, ...], named: dict[str, Any]):
        self.positional, self.named = positional, named


class WholeSignature:
    """The signature of a class including the arguments that its constructor takes as **options, for `help` and editors."""

    def __get__(self, instance: Any, owner: Any) -> inspect.Signature:
        own = inspect.signature(getattr(owner, "cell_class", owner).__init__).parameters.values()
        places = [p.name for p in own if p.kind == p.POSITIONAL_OR_KEYWORD]
        parameters = sorted(owner.arguments().items(), key=lambda item: item[0] not in places)  # a stable sort
        kinds = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        return inspect.Signature(
            [inspect.Parameter(name, kinds[name in places], default=default) for name, default in parameters]
        )


class Configured:
    """Base of classes with a configuration: `get_config` returns the constructor's arguments, `from_config` an object."""

    made_with: ConstructorArguments
    __signature__ = WholeSignature()

    def __new__(cls, *positional: Any, **named: Any) -> Any:
        instance = super().__new__(cls)
        instance.made_with = ConstructorArguments(positional, named)
        return instance

    @classmethod
    def arguments(cls) -> dict[str, Any]:
        """The constructor's arguments, also those taken as **options, with their defaults."""
        defaults: dict[str, Any] = {}
        for base in cls.__mro__:
            init = vars(base).get("__init__")
            if init is None or base is object or base.__module__.startswith("tinygrad_rnn.rnn"):
                continue
            parameters = list(inspect.signature(init).parameters.values())[1:]
            for p in parameters:
                if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
                    defaults.setdefault(p.name, p.default)
            if not any(p.kind == p.VAR_KEYWORD for p in parameters):
                break
        return defaults

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments of this object, including defaults, as JSON data.

        Raises TypeError for an argument that cannot be written as JSON, such as a random generator.

        >>> import tinygrad_rnn as tg
        >>> config = tg.layers.Dense(2, activation="relu", kernel_regularizer="l2").get_config()
        >>> config["units"], config["activation"], config["kernel_regularizer"], config["use_bias"]
        (2, 'relu', 'l2', True)
        """
        known = self.arguments()
        arguments = dict(zip(known, self.made_with.positional, strict=False)) | self.made_with.named
        arguments = {key: value for key, value in (known | arguments).items() if value is not inspect.Parameter.empty}
        if "name" in known:
            arguments["name"] = getattr(self, "name", None)
        return {key: to_json(f"{type(self).__name__}: {key}", value) for key, value in arguments.items()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Any:
        """Create an object from a configuration, without weights. custom_objects: the user's functions and classes, by name.

        Configurations written by Keras are accepted if they use only what this package has.

        >>> import tinygrad_rnn as tg
        >>> tg.layers.GRU.from_config(tg.layers.GRU(3, return_sequences=True).get_config())
        GRU(return_sequences=True
          (cell): GRUCell(3, reset_after=True)
        )
        """
        known = cls.arguments()
        arguments = {
            key: from_json(f"{cls.__name__}: {key}", value, custom_objects or {}) for key, value in config.items()
        }
        ignored = {"trainable": True, "implementation": 0, "quantization_config": None}
        return cls(**{k: v for k, v in arguments.items() if k in known or not (v is None or ignored.get(k, ...) == v)})


def to_json(where: str, value: Any) -> Any:
    """An argument as JSON data."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [to_json(f"{where}[{i}]", v) for i, v in enumerate(value)]
    if isinstance(value, dict):
        return {str(k): to_json(f"{where}[{k!r}]", v) for k, v in value.items()}
    if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic)):
        return np.dtype(value).name
    if callable(getattr(value, "get_config", None)) and not isinstance(value, type):
        cls_ = type(value)
        return {"module": cls_.__module__, "class_name": cls_.__name__, "config": value.get_config()}
    for name, function in functions.items():
        if value is function:
            return name
    if inspect.isfunction(value) and value.__name__ != "<lambda>":
        return {"class_name": "function", "config": value.__name__}
    raise TypeError(
        f"{where} is {type(value).__name__} {value!r:.60}, which a configuration cannot contain; give a name, a number, a "
        "function that was defined with def, or an object with get_config()"
    )


def from_json(where: str, value: Any, custom: Mapping[str, Any]) -> Any:
    """An argument from JSON data."""
    if isinstance(value, (list, tuple)):
        return [from_json(f"{where}[{i}]", v, custom) for i, v in enumerate(value)]
    if not isinstance(value, dict) or "class_name" not in value:
        return value
    name, config = value["class_name"], value.get("config", {})
    if name == "DTypePolicy":  # written by Keras
        return config["name"]
    if name == "function":
        if config in custom or config in functions:
            return custom.get(config, functions.get(config))
        raise ValueError(f"{where} is the function {config!r}; give it in custom_objects={{{config!r}: …}}")
    cls_ = custom.get(name) or _class(name, value.get("module"))
    if cls_ is None:
        raise ValueError(
            f"{where} is a {name!r}, which is not a known class; give it in custom_objects={{{name!r}: …}}"
        )
    if issubclass(cls_, Configured):
        return cls_.from_config(config, custom)
    return cls_.from_config(config) if hasattr(cls_, "from_config") else cls_(**config)


def _class(name: str, module: str | None) -> type[Configured] | None:
    """The class of this name in this module, else the first defined class of this name."""
    classes = [c for c in _subclasses(Configured) if c.__name__ == name]
    return next((c for c in classes if c.__module__ == module), classes[0] if classes else None)


def _subclasses(cls: type[Configured]) -> Iterator[type[Configured]]:
    for subclass in cls.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)
