"""JSON section -> frozen dataclass, strictly: what a config says and we do not know is an error with its JSON path."""

import dataclasses
import difflib
import types
import typing
from typing import Any, TypeVar

from .errors import ConfigError

T = TypeVar("T")


def build(cls: type[T], section: Any, path: str) -> T:
    """Return ``cls(**section)`` after checking every key and type.

    ``cls`` is a dataclass; keys named in its class variable ``IGNORED`` (training only, no effect at inference) are
    dropped.  A ``ValueError`` from ``__post_init__`` becomes a ConfigError at ``path``.
    """
    if not isinstance(section, dict):
        raise ConfigError(f"{path}: expected an object, got {describe(section)}")
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(typing.cast(Any, cls)) if f.init}
    values = {}
    for key, value in section.items():
        if key in fields:
            values[key] = convert(value, hints[key], f"{path}.{key}")
        elif key not in getattr(cls, "IGNORED", ()):
            close = difflib.get_close_matches(key, fields, 1)
            raise ConfigError(f"{path}: unknown key {key!r}" + (f", did you mean {close[0]!r}?" if close else ""))
    missing = [
        name
        for name, f in fields.items()
        if name not in values and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ConfigError(f"{path}: missing {', '.join(map(repr, missing))}")
    try:
        return cls(**values)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None


def convert(value: Any, hint: Any, path: str) -> Any:
    """Check ``value`` against a type hint: scalars, ``X | None``, ``tuple[X, ...]``, dataclasses, ``dict``, ``Any``."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        options = [a for a in args if a is not type(None)]
        for option in options[:-1]:
            try:
                return convert(value, option, path)
            except ConfigError:
                continue
        return convert(value, options[-1], path)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{path}: expected a list, got {describe(value)}")
        return tuple(convert(v, args[0], f"{path}[{i}]") for i, v in enumerate(value))
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return build(hint, value, path)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if hint is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    wanted = origin or hint
    if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
        raise ConfigError(f"{path}: expected {wanted.__name__}, got {describe(value)}")
    return value


def lookup(table: dict[str, T], section: Any, path: str, key: str = "type") -> T:
    """Return ``table[section[key]]``; an unknown type is a ConfigError that lists the known ones."""
    if not isinstance(section, dict):
        raise ConfigError(f"{path}: expected an object, got {describe(section)}")
    name = section.get(key)
    if not isinstance(name, str) or name not in table:
        close = difflib.get_close_matches(str(name), table, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(table))}"
        raise ConfigError(f"{path}.{key}: {name!r} is not supported, {hint}")
    return table[name]


def describe(value: Any) -> str:
    """A short, safe rendering of a JSON value for an error message."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
