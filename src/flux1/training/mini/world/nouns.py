"""The nouns of the world: what each is, where it belongs, how it may be drawn and called.

The rows stand in `nouns/*.toml`, one table a noun, `[kind.name]`. A field that a row leaves out
follows from its kind. Every row is checked when it is read, so that a misspelt field, place or set
is an error and never a silent default.
"""

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal, get_args

from pydantic import ConfigDict, TypeAdapter, ValidationError

from flux1.errors import DataError

Where = Literal["ground", "water surface", "under water", "air", "sky", "indoors"]
Size = Literal["small", "medium", "large"]
Countability = Literal["count", "plural", "mass"]
Framing = Literal["whole", "bust", "face"]
WHERE: tuple[str, ...] = get_args(Where)


@dataclass(frozen=True)
class Kind:
    """Defaults that the nouns of a kind have in common, unless a row says otherwise."""

    name: str
    where: tuple[Where, ...]
    size: Size = "medium"
    turns: bool = False
    tints: bool = True


_ROOMY: tuple[Where, ...] = ("ground", "indoors")
KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("person", _ROOMY, tints=False),
        Kind("animal", ("ground",)),
        Kind("bird", ("ground", "air"), "small", turns=True),
        Kind("sea animal", ("under water",), turns=True),
        Kind("insect", ("ground", "air"), "small", turns=True),
        Kind("fruit", _ROOMY, "small", turns=True),
        Kind("vegetable", _ROOMY, "small", turns=True),
        Kind("food", _ROOMY, "small"),
        Kind("vehicle", ("ground",)),
        Kind("aircraft", ("air",), turns=True),
        Kind("boat", ("water surface",)),
        Kind("building", ("ground",), "large"),
        Kind("furniture", ("indoors",)),
        Kind("plant", ("ground",)),
        Kind("clothing", _ROOMY, "small", turns=True),
        Kind("toy", _ROOMY, "small", turns=True),
        Kind("instrument", _ROOMY, turns=True),
        Kind("tool", _ROOMY, "small", turns=True),
        Kind("device", ("indoors",), "small"),
        Kind("object", _ROOMY, "small"),
        Kind("sky", ("sky",)),
        Kind("landform", ("ground",), "large", tints=False),
    )
}


@dataclass(frozen=True)
class Noun:
    """One noun. `where` names the places that it belongs to, `size` how large it usually is.

    `mirrors` and `turns` say whether its drawings stay true when mirrored (no writing on them) and
    when turned by a few degrees, `tints` whether a colour word may be said of it. `form` is
    `count` ("a cat, two cats"), `plural` ("scissors") or `mass` ("bread"); `plural` is how several
    are called, None where they cannot be counted. `later` marks the nouns of the larger world.
    `whole` shows all of it, `busts` head and shoulders cut off below, `faces` only a head; each is
    a tuple of drawings named `set:icon`.
    """

    name: str
    kind: str
    where: tuple[Where, ...]
    size: Size
    mirrors: bool
    turns: bool
    tints: bool
    form: Countability
    plural: str | None
    later: bool
    synonyms: tuple[str, ...]
    whole: tuple[str, ...]
    busts: tuple[str, ...]
    faces: tuple[str, ...]

    @property
    def drawings(self) -> tuple[tuple[str, Framing], ...]:
        """Every drawing of the noun with how much of it is shown, whole ones first."""
        return (
            *((name, "whole") for name in self.whole),
            *((name, "bust") for name in self.busts),
            *((name, "face") for name in self.faces),
        )

    def form_of(self, name: str) -> Countability:
        """Return how one of the noun's names is used in a sentence.

        A synonym is counted ("a loaf of bread", "a pair of glasses"), except another plural of a
        noun that is always plural ("spectacles").
        """
        if name == self.name:
            return self.form
        always = self.form == "plural" and name.endswith("s") and " of " not in name
        return "plural" if always else "count"

    def plural_of(self, name: str) -> str | None:
        """Return how several are called by one of the noun's names; None where they are not
        counted."""
        if name == self.name:
            return self.plural
        return regular_plural(name) if self.form_of(name) == "count" else None

    @property
    def head_only(self) -> bool:
        """True if no drawing shows more than a head."""
        return not self.whole and not self.busts


@dataclass(frozen=True)
class _Row:
    """The fields that a row may have; None follows from the kind or from the noun's spelling."""

    where: tuple[Where, ...] | None = None
    size: Size | None = None
    mirrors: bool = True
    turns: bool | None = None
    tints: bool | None = None
    form: Countability = "count"
    plural: str | None = None
    later: bool = False
    synonyms: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()
    busts: tuple[str, ...] = ()
    faces: tuple[str, ...] = ()
    __pydantic_config__ = ConfigDict(extra="forbid")


def read_nouns(tables: Iterable[str]) -> tuple[Noun, ...]:
    """The nouns of several TOML texts, in their order.

    Raises DataError for an unknown kind or field, for a noun without a drawing, and for a name or
    synonym that means two nouns.
    """
    nouns = tuple(noun for text in tables for noun in _read(text))
    owner: dict[str, str] = {}
    for noun in nouns:
        for name in (noun.name, *noun.synonyms):
            if name in owner:
                raise DataError(f"{name!r} means both {owner[name]!r} and {noun.name!r}")
            owner[name] = noun.name
    return nouns


def _read(text: str) -> Iterable[Noun]:
    for kind, rows in tomllib.loads(text).items():
        if kind not in KINDS:
            raise DataError(f"no kind {kind!r}; there are {', '.join(KINDS)}")
        for name, row in rows.items():
            yield _noun(name, KINDS[kind], row)


def _noun(name: str, kind: Kind, fields: dict) -> Noun:
    try:
        row = TypeAdapter(_Row).validate_python(fields)
    except ValidationError as refused:
        first = refused.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise DataError(f"noun {name!r}, field {field!r}: {first['msg']}") from None
    if not (row.whole or row.busts or row.faces):
        raise DataError(f"noun {name!r} has no drawing")
    several = row.plural or (regular_plural(name) if row.form == "count" else None)
    return Noun(
        name,
        kind.name,
        row.where or kind.where,
        row.size or kind.size,
        row.mirrors,
        kind.turns if row.turns is None else row.turns,
        kind.tints if row.tints is None else row.tints,
        row.form,
        several,
        row.later,
        row.synonyms,
        row.whole,
        row.busts,
        row.faces,
    )


# Endings of a name and what they become where there are several; the first that fits counts.
_PLURALS = (
    ("(?<!hu)man$", "men"),
    ("fish$", "fish"),
    ("(kni|li|wi)fe$", r"\1ves"),
    ("(lea|loa|el|wol|scar)f$", r"\1ves"),
    ("(s|x|z|ch|sh)$", r"\1es"),
    ("([^aeiou])y$", r"\1ies"),
    ("$", "s"),
)


def regular_plural(name: str) -> str:
    """The plural by the rules of spelling: 'box' gives 'boxes', 'cup of tea' 'cups of tea'.

    What the rules get wrong is written in the rows.
    """
    head, joint, rest = name.partition(" of ")
    ending, several = next(rule for rule in _PLURALS if re.search(rule[0], head))
    return re.sub(ending, several, head) + joint + rest


def article(words: str) -> str:
    """'a' or 'an', by the sound that the words begin with."""
    silent = words.startswith(("hour", "honest"))
    consonant = re.match("uni|use|ufo|one|eu", words) is not None
    return "an" if silent or (words[0] in "aeiou" and not consonant) else "a"


@cache
def all_nouns() -> dict[str, Noun]:
    """Every noun of the package, by name, those of the larger world too."""
    folder = resources.files("flux1.training.mini.world") / "nouns"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".toml")), key=lambda f: f.name)
    return {noun.name: noun for noun in read_nouns(file.read_text("utf-8") for file in files)}


@cache
def nouns() -> dict[str, Noun]:
    """The nouns that are learnt first, by name: those that people ask for most."""
    return {name: noun for name, noun in all_nouns().items() if not noun.later}
