"""A command's options from the fields of a dataclass, so that a setting is described once."""

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, Field, fields
from functools import wraps
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import typer

from flux1.training.finetune.settings import About

Command = Callable[..., None]


def options_of(
    table: type, only: Collection[str] | None = None, without: Collection[str] = ()
) -> dict[str, Any]:
    """The options of a dataclass's fields that have an About, by the field's name. What is not
    given is None: the dataclass knows what holds then."""
    hints = get_type_hints(table, include_extras=True)
    return {
        field.name: _option(field, hints[field.name])
        for field in fields(table)
        if _about(hints[field.name]) and field.name not in without
        if only is None or field.name in only
    }


def with_options(options: Mapping[str, Any], after: str) -> Callable[[Command], Command]:
    """A command that takes its `**keywords` as these options; they are listed after the parameter
    of that name."""

    def decorate(command: Command) -> Command:
        signature = inspect.signature(command, eval_str=True)
        own = [one for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD]
        place = [one.name for one in own].index(after) + 1
        kind = inspect.Parameter.KEYWORD_ONLY
        taken = [one.replace(kind=kind) for one in own]
        taken[place:place] = [
            inspect.Parameter(name, kind, default=None, annotation=option)
            for name, option in options.items()
        ]

        @wraps(command)
        def called(**given: Any) -> None:
            command(**given)

        called.__dict__["__signature__"] = signature.replace(parameters=taken)
        called.__annotations__ = {one.name: one.annotation for one in taken}
        return called

    return decorate


def given(options: Mapping[str, Any], table: type) -> dict[str, Any]:
    """Those of the options that were given and are fields of a dataclass, as it takes them."""
    names = [field.name for field in fields(table)]
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in options.items()
        if name in names and value not in (None, [])
    }


def _about(hint: Any) -> About | None:
    rows = [one for one in getattr(hint, "__metadata__", ()) if isinstance(one, About)]
    return rows[0] if rows else None


def _option(field: "Field[Any]", hint: Any) -> Any:
    about = _about(hint)
    assert about is not None
    kind = _kind(hint)
    usual = about.usual
    if usual is None and field.default is not MISSING and kind is not bool:
        usual = str(field.default)
    several = " May be given again." if get_origin(kind) is list else ""
    option = typer.Option(
        about.option or f"--{field.name.replace('_', '-')}",
        help=about.text + several,
        show_default=usual or False,
        min=about.least,
    )
    return Annotated[kind | None, option]


def _kind(hint: Any) -> Any:
    """The type that the command line reads: without bounds and None, a choice as its word, a tuple
    as a list."""
    origin = get_origin(hint)
    if origin is Annotated:
        return _kind(get_args(hint)[0])
    if origin in (Union, UnionType):
        (kind,) = {_kind(one) for one in get_args(hint) if one is not type(None)}
        return kind
    if origin is Literal:
        return str
    if origin is tuple:
        return list[_kind(get_args(hint)[0])]  # type: ignore[misc]
    return hint
