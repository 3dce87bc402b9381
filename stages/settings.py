"""The base of every configuration model, and what of a configuration identifies a result."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from stages.errors import ConfigError, suggestion

LARGEST = 2**63 - 1  # Arrow and numpy hold whole numbers up to there
T = TypeVar("T", bound="Settings")


class Settings(BaseModel):
    """A frozen table of the configuration. Unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    @field_validator("*", mode="before")
    @classmethod
    def _as_it_is_meant(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuses what would be made into another kind of value: "8" into 8, true into 1, 1 into true."""
        annotation: Any = cls.model_fields[info.field_name or ""].annotation
        kinds = _kinds(annotation) - {type(None)}
        wrong = (str, int) if kinds == {bool} else (str, bool) if kinds and kinds <= {int, float} else ()
        if any(isinstance(one, wrong) and type(one) not in kinds for one in _listed(value)):
            wanted = "true or false" if kinds == {bool} else "a number"
            raise PydanticCustomError("other_kind", "Input should be {wanted}, without quotes", {"wanted": wanted})
        if not all(map(_holds, _numbers(value, tables=bool(kinds & {int, float})))):
            raise PydanticCustomError("no_amount", "Input should be a finite number, a whole one of 64 bits")
        return value

    def semantic(self) -> dict[str, Any]:
        """The fields that can change a result, as plain JSON values: all but those made by `speed`."""
        return {
            key: _plain(getattr(self, key))
            for key, field in type(self).model_fields.items()
            if not (isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("speed_only"))
        }


def speed(default: Any, description: str, **limits: Any) -> Any:
    """A field that changes how fast a result comes and not what it is: it stays out of every key."""
    return Field(default, description=description, json_schema_extra={"speed_only": True}, **limits)


@cache
def _kinds(annotation: Any) -> frozenset[Any]:
    """The types of the values that an annotation allows, alone or in lists."""
    if get_origin(annotation) is Literal:
        return frozenset(type(one) for one in get_args(annotation))
    inner = [one for one in get_args(annotation) if one is not Ellipsis]
    return frozenset().union(*map(_kinds, inner)) if inner else frozenset({annotation})


def _numbers(value: Any, tables: bool) -> Iterator[int | float]:
    """The numbers of a value, those in lists included, and those in `tables`: tables of other models check their own."""
    if isinstance(value, Mapping) and tables:
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for one in value:
            yield from _numbers(one, tables)
    elif isinstance(value, (int, float)):
        yield value


def _holds(number: int | float) -> bool:
    return math.isfinite(number) if isinstance(number, float) else -LARGEST <= number <= LARGEST


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _plain(value: Any) -> Any:
    if isinstance(value, Settings):
        return value.semantic()
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)


def parse(model: type[T], fields: Mapping[str, Any], where: str) -> T:
    """Builds a model from a table of the configuration; `where` is the table's name. Raises ConfigError."""
    try:
        return model.model_validate(dict(fields))
    except ValidationError as error:
        raise explain(error, model, where) from None


def explain(error: ValidationError, model: type[Settings], where: str) -> ConfigError:
    """The first fault of a table as a ConfigError that names the key."""
    first = error.errors(include_url=False)[0]
    path = [str(step) for step in first["loc"]]
    key = ".".join([where, *path]) if where else ".".join(path)
    if first["type"] == "extra_forbidden":
        owner: Any = model
        for step in path[:-1]:
            field = owner.model_fields.get(step) if isinstance(owner, type) and issubclass(owner, Settings) else None
            owner = field.annotation if field else None
        known = owner.model_fields if isinstance(owner, type) and issubclass(owner, Settings) else ()
        return ConfigError(f"unknown key {key!r}", try_=suggestion(path[-1], known) if known else "remove it")
    if first["type"] == "missing":
        return ConfigError(f"the key {key!r} is missing", try_=f"{path[-1]} = …")
    return ConfigError(f"{key}: {first['msg']}", got=repr(first.get("input")))
