"""A policy for prompts.

A tolerance from 0 (strict) to 6 says how much passes. Each listed phrase has a level, the highest
tolerance that it is blocked at, so whatever blocks at one tolerance blocks at every stricter one:

    level   blocked there and below
    6       sexual/minors; operator (the deny list): at every tolerance
    5       sexual against somebody's will; hate/threatening
    4       sexual acts; hate; self-harm as advice; illicit/violent
    3       nudity; violence against the many; illicit
    2       violence/graphic; self-harm
    1       suggestive; violence
    0       lingerie and blood

Words of somebody young together with anything sexual are sexual/minors. The phrases are English
and live in `words.toml`. They are found as whole words, through accents, look-alike letters,
invisible characters, digits for letters (nud3), stretching (nuuude) and punctuation or spaces
between letters (n.u.d.e, n u d e), in time linear in the text. Words run together
(nudewoman), other languages and paraphrase are not found: the classifier of pictures looks at
what such a prompt draws.
"""

import re
import tomllib
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate, groupby, pairwise
from pathlib import Path

from flux1.errors import SettingsError
from flux1.safety.verdict import Verdict

MAX_TOLERANCE = 6
_MINORS, _OPERATOR = "sexual/minors", "operator"
_ABSOLUTE = (_MINORS, _OPERATOR)
_YOUNG, _SPARED, _ALLOWED = "(young)", "(spared)", "(allowed)"  # marks, not categories

_WORDS = Path(__file__).with_name("words.toml")
# Scripts that leave no space between words: each character is a word.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff"
_WORD = re.compile(f"[{_UNSPACED}\U00020000-\U0003ffff]|[^\\W_{_UNSPACED}\U00020000-\U0003ffff]+")
# What may be one word with punctuation in it. Not across an apostrophe: "who're" is two words.
_CHUNK = re.compile(r"[^\s'\"`\u00b4\u2018\u2019\u201c\u201d«»,;:()\[\]{}<>/\\&\u2013\u2014]+")
_STRETCHED = re.compile(r"(.)\1{2,}")
_AGE = re.compile(r"(?:1[0-7]|[1-9])(?!\d)")
_NUMBERS = {
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen",
}  # fmt: skip
_DIGITS = [str.maketrans("01345789", f"o{one}eastbg") for one in "il"]
_SYMBOLS = str.maketrans("@$!|€+", "asilet")
_LOOKALIKES = str.maketrans(
    "аеорсухіјѕԁһкмтвοναρυικετχոսɡɑıłøđ",
    "aeopcyxijsdhkmtbovapuiketxnugailod",
)
# The longest compatibility forms there are (18 and 8 letters), as their first letter: a text of
# them would grow so much that nothing else runs while it is normalised.
_LIGATURES = {"\ufdfa": "\u0635", "\ufdfb": "\u062c"}
_MARKS = re.compile(
    "[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe00-\ufe0f\ufe20-\ufe2f"
    "\u115f\u1160\u17b4\u17b5\U000e0100-\U000e01ef]"
)


@dataclass(frozen=True)
class Rule:
    """A phrase (its words) that blocks in `category` at tolerances up to `level`."""

    words: tuple[str, ...]
    category: str
    level: int = MAX_TOLERANCE


@dataclass(frozen=True)
class _Node:
    """A node in a tree of phrases: the words that may follow, and the rules that end here."""

    follow: dict[str, "_Node"] = field(default_factory=dict)
    rules: list[Rule] = field(default_factory=list)


class PromptPolicy:
    """Rules over words. Build it with `PromptPolicy.standard()`. Immutable, so thread-safe."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._root = _Node()
        self._longest = 0
        for rule in rules:
            node = self._root
            for word in rule.words:
                node = node.follow.setdefault(word, _Node())
                self._longest = max(self._longest, len(word))
            node.rules.append(rule)

    @classmethod
    def standard(cls, deny: Path | None = None, allow: Path | None = None) -> "PromptPolicy":
        """The shipped words, and the operator's own.

        `deny` and `allow` are UTF-8 files of one word or phrase a line; # begins a comment. What
        is denied blocks at every tolerance; what is allowed lifts every other rule inside that
        very phrase, save sexual/minors. SettingsError for a file that cannot be read so.
        """
        shipped = tomllib.loads(_WORDS.read_text(encoding="utf-8"))
        rules = [
            Rule(tuple(phrase.split()), rule["category"], rule["level"])
            for rule in shipped["rules"]
            for phrase in rule["phrases"]
        ]
        rules += [Rule(tuple(phrase.split()), _YOUNG) for phrase in shipped["young"]]
        rules += [Rule(tuple(phrase.split()), _SPARED) for phrase in shipped["spared"]]
        rules += [Rule(words, _OPERATOR) for words in _phrases("deny_words", deny)]
        rules += [Rule(words, _ALLOWED) for words in _phrases("allow_words", allow)]
        return cls(rules)

    def check(self, text: str, tolerance: int) -> Verdict:
        """Return what `text` asks for. A category's score is (level + 1) / 7 of its strongest
        phrase.

        `tolerance` is 0 to 6 (ValueError for any other).
        """
        if not 0 <= tolerance <= MAX_TOLERANCE:
            raise ValueError(f"tolerance {tolerance} is not from 0 to {MAX_TOLERANCE}")
        lattice = _lattice(_normal(text), self._longest)
        hits = _outside(_SPARED, list(self._hits(lattice)), len(lattice), but=(_OPERATOR,))
        levels: dict[str, int] = {}
        for _, _, rule in _outside(_ALLOWED, hits, len(lattice), but=_ABSOLUTE):
            levels[rule.category] = max(rule.level, levels.get(rule.category, 0))
        found = {rule.category for _, _, rule in hits}
        if {_YOUNG, "sexual"} <= found:
            levels[_MINORS] = MAX_TOLERANCE
        levels.pop(_YOUNG, None)
        return Verdict(
            tuple(sorted(name for name, level in levels.items() if tolerance <= level)),
            {name: (level + 1) / (MAX_TOLERANCE + 1) for name, level in levels.items()},
        )

    def _hits(self, lattice: "_Lattice") -> Iterator["_Hit"]:
        """Every rule whose words lie on a path through the lattice, with where it begins and ends.

        A path is as long as the longest phrase at most, so the work is linear in the text.
        """
        for start in range(len(lattice)):
            open_paths = [(start, self._root)]
            while open_paths:
                place, node = open_paths.pop()
                for rule in node.rules:
                    yield start, place, rule
                if place < len(lattice):
                    for word, end in lattice[place]:
                        if word in node.follow:
                            open_paths.append((end, node.follow[word]))


# Where each word may begin: its possible readings, and the place after it.
_Lattice = list[list[tuple[str, int]]]
_Hit = tuple[int, int, Rule]


def _outside(mark: str, hits: list[_Hit], places: int, but: tuple[str, ...] = ()) -> list[_Hit]:
    """The hits that no hit of category `mark` covers, and those of the categories in `but`."""
    reach = [0] * (places + 1)  # how far the marks that begin here or before cover
    for start, end, rule in hits:
        if rule.category == mark:
            reach[start] = max(reach[start], end)
    reach = list(accumulate(reach, max))
    return [
        (start, end, rule)
        for start, end, rule in hits
        if rule.category != mark and (reach[start] < end or rule.category in but)
    ]


def _normal(text: str) -> str:
    """Compatibility forms, case, accents, look-alikes and invisible characters made plain."""
    if text.isascii():
        return text.casefold()
    kept = []
    marks = 0  # a long run of combining marks would take quadratic time to normalise
    for character in text:
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks <= 4:
            kept.append(_LIGATURES.get(character, character))
    text = unicodedata.normalize("NFKD", "".join(kept)).casefold()
    text = "".join(c for c in _MARKS.sub("", text) if unicodedata.category(c) != "Cf")
    return unicodedata.normalize("NFKC", text.translate(_LOOKALIKES))


def _lattice(text: str, longest: int) -> _Lattice:
    """The words of a text in all their readings; joined readings of at most ~`longest` letters."""
    words = list(_WORD.finditer(text))
    lattice: _Lattice = [[(r, i + 1) for r in _readings(w[0])] for i, w in enumerate(words)]

    def join(first: int, last: int, word: str) -> None:
        if len(word) <= 2 * longest:
            lattice[first].extend((reading, last + 1) for reading in _readings(word))

    index = 0
    for chunk in _CHUNK.finditer(text):
        first = index
        while index < len(words) and words[index].end() <= chunk.end():
            index += 1
        if index == first or words[first].span() == chunk.span():
            continue
        body = chunk[0].rstrip("!|+")
        if index - first > 1:  # nu.de
            join(first, index - 1, "".join(w[0] for w in words[first:index]))
        if (plain := body.translate(_SYMBOLS)) != body:  # $ex
            join(first, index - 1, "".join(_WORD.findall(plain)))

    gaps = [_gap(text, one, two) for one, two in pairwise(words)]
    for gap, places in groupby(range(len(gaps)), key=gaps.__getitem__):  # n u d e, n.u.d.e
        run = list(places)
        if gap is not None and len(run) >= 2:
            letters = "".join(w[0] for w in words[run[0] : run[-1] + 2])
            join(run[0], run[-1] + 1, letters)
            join(run[1], run[-1] + 1, letters[1:])  # a n u d e ...
    return lattice


def _gap(text: str, one: re.Match[str], two: re.Match[str]) -> str | None:
    """Return what stands between two words of one letter each, None if they are others or far
    apart."""
    alone = one.end() - one.start() == two.end() - two.start() == 1
    return text[one.end() : two.start()] if alone and two.start() - one.end() <= 3 else None


def _readings(word: str) -> set[str]:
    """The word as written, with digits for letters undone, unstretched; # for an age below 18."""
    found = {word}
    if not word.isalpha() and not word.isdigit():
        found |= {word.translate(table) for table in _DIGITS}
    if _STRETCHED.search(word):
        found |= {_STRETCHED.sub(kept, w) for w in tuple(found) for kept in (r"\1", r"\1\1")}
    if word in _NUMBERS:
        found.add("#")
    elif age := _AGE.match(word):
        found.add("#" + word[age.end() :])
    return found


def _phrases(setting: str, path: Path | None) -> Iterator[tuple[str, ...]]:
    """The words of each line of an operator's file."""
    if path is None:
        return
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise SettingsError(f"{setting}: there is no {path}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{setting}: {path} is not UTF-8 text") from None
    except OSError as failure:
        raise SettingsError(f"{setting}: cannot read {path}: {failure.strerror}") from None
    for number, line in enumerate(lines, 1):
        phrase = line.partition("#")[0].strip()
        if phrase:
            words = tuple(word[0] for word in _WORD.finditer(_normal(phrase)))
            if not words:
                raise SettingsError(f"{setting}: line {number} of {path} has no word: {phrase!r}")
            yield words
