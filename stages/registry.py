"""Finds a member of a family by the name of its file: `filters/relative_margin.py` holds `RelativeMargin`.

Adding a member is adding a file. A member's fields are its table in the configuration:

    [index.kind]                           a family of which one is used
    name = "flat"

    [judge.filters.relative_margin]        a family of which several are used, in the order of the file
    margin = 0.05

    [[teach.teachers]]                     the same, where one member may be used several times
    name = "cross_encoder"
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from stages.errors import ConfigError, suggestion
from stages.settings import Settings, parse


class Member(Settings):
    """Base of every member of a family: a frozen table of the configuration that knows its name."""

    @property
    def name(self) -> str:
        """The name in the configuration: that of the member's file."""
        return type(self).__module__.rpartition(".")[2]

    def semantic(self) -> dict[str, Any]:
        return {"name": self.name, **super().semantic()}


def names(family: str) -> list[str]:
    """The members of a family: its files, without those that begin with an underscore."""
    return list(_names(family))


@cache  # a calibration builds a filter for each threshold it tries, and a look at the folder takes most of that time
def _names(family: str) -> tuple[str, ...]:
    package = importlib.import_module(f"stages.{family}")
    return tuple(sorted(m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_")))


def build(family: str, name: str, fields: Mapping[str, Any]) -> Member:
    """One member with its fields. Raises ConfigError, with a suggestion for a name or a key that is unknown."""
    known = names(family)
    if name not in known:
        raise ConfigError(f"no {name!r} among the {family}", try_=suggestion(name, known))
    module = importlib.import_module(f"stages.{family}.{name}")
    member: type[Member] = getattr(module, "".join(word.capitalize() for word in name.split("_")))
    return parse(member, fields, f"{family}.{name}")


@dataclass(frozen=True)
class OneOf:
    """Marks a field that holds one member of a family: `Annotated[Index, OneOf("indexes")]`."""

    family: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.parse)

    def parse(self, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        if not isinstance(value.get("name"), str):
            raise ConfigError(
                f"the table of one of the {self.family} has no name",
                got=repr(value["name"]) if "name" in value else None,
                try_=f"name = one of: {', '.join(names(self.family))}",
            )
        return build(self.family, value["name"], {k: v for k, v in value.items() if k != "name"})


@dataclass(frozen=True)
class ManyOf:
    """Marks a field that holds members of a family in order: `Annotated[tuple[Filter, ...], ManyOf("filters")]`."""

    family: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.parse)

    def parse(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return tuple(build(self.family, name, fields) for name, fields in value.items())
        if not isinstance(value, list | tuple) or any(isinstance(each, str | int | float) for each in value):
            raise ConfigError(f"the {self.family} are tables and not values", got=repr(value), try_="a table for each")
        return tuple(OneOf(self.family).parse(each) for each in value)
