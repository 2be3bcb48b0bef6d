"""The world's nouns are what their rows say, and a wrong row is refused by name."""

import pytest

from flux1.errors import DataError
from flux1.training.mini.world.nouns import all_nouns, article, nouns, read_nouns, regular_plural
from flux1.training.mini.world.sets import SETS, notices


def test_there_are_300_nouns_to_learn_first_and_more_in_the_larger_world():
    assert 300 <= len(nouns()) <= 360
    assert set(nouns()) < set(all_nouns())


def test_every_drawing_names_a_known_set_and_stands_once_in_its_noun():
    for noun in all_nouns().values():
        names = [name for name, _ in noun.drawings]
        assert len(names) == len(set(names)), noun.name
        assert {name.partition(":")[0] for name in names} <= set(SETS), noun.name
        assert all(name.partition(":")[2] for name in names), noun.name


def test_names_and_synonyms_are_plain_lower_case_words():
    for noun in all_nouns().values():
        for name in (noun.name, *noun.synonyms):
            assert name == name.lower().strip(), name
            assert all(part.replace("-", "").replace("'", "").isalpha() for part in name.split())


@pytest.mark.parametrize(
    ("noun", "plural"),
    [
        ("woman", "women"), ("old man", "old men"), ("snowman", "snowmen"), ("baby", "babies"),
        ("person", "people"), ("wolf", "wolves"), ("elf", "elves"), ("leaf", "leaves"),
        ("knife", "knives"), ("scarf", "scarves"), ("mouse", "mice"), ("goose", "geese"),
        ("deer", "deer"), ("sheep", "sheep"), ("fish", "fish"), ("butterfly", "butterflies"),
        ("fox", "foxes"), ("bus", "buses"), ("church", "churches"), ("wine glass", "wine glasses"),
        ("strawberry", "strawberries"), ("cherries", "cherries"), ("tomato", "tomatoes"),
        ("volcano", "volcanoes"), ("cactus", "cacti"), ("toothbrush", "toothbrushes"),
        ("monkey", "monkeys"), ("key", "keys"), ("trophy", "trophies"),
        ("bread", "loaves of bread"),
        ("coffee", "cups of coffee"), ("superhero", "superheroes"), ("piano", "pianos"),
        ("bow and arrow", "bows and arrows"), ("computer mouse", "computer mice"), ("dice", "dice"),
        ("scissors", "scissors"), ("witch", "witches"), ("fire", None), ("jeans", None),
    ],
)  # fmt: skip
def test_plurals_are_those_of_a_dictionary(noun, plural):
    assert all_nouns()[noun].plural == plural


def test_synonyms_that_follow_the_rules_have_their_plural_too():
    assert regular_plural("fireman") == "firemen"
    assert regular_plural("human") == "humans"
    assert regular_plural("cup of tea") == "cups of tea"
    assert regular_plural("lady") == "ladies"


@pytest.mark.parametrize(
    ("noun", "name", "form", "several"),
    [
        ("bread", "bread", "mass", "loaves of bread"),
        ("bread", "loaf of bread", "count", "loaves of bread"),
        ("glasses", "glasses", "plural", None),
        ("glasses", "spectacles", "plural", None),
        ("glasses", "pair of glasses", "count", "pairs of glasses"),
        ("cat", "kitty", "count", "kitties"),
        ("grapes", "bunch of grapes", "count", "bunches of grapes"),
        ("man", "gentleman", "count", "gentlemen"),
    ],
)
def test_a_synonym_has_its_own_grammar(noun, name, form, several):
    row = all_nouns()[noun]
    assert name in (row.name, *row.synonyms)
    assert (row.form_of(name), row.plural_of(name)) == (form, several)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("apple", "an"), ("hourglass", "an"), ("owl", "an"), ("umbrella", "an"), ("egg", "an"),
        ("unicorn", "a"), ("ufo", "a"), ("cat", "a"), ("house", "a"), ("red apple", "a"),
        ("orange cat", "an"), ("ice cream", "an"),
    ],
)  # fmt: skip
def test_the_article_goes_by_the_sound(words, expected):
    assert article(words) == expected


def test_a_row_takes_from_its_kind_what_it_does_not_say():
    fox, shark = all_nouns()["fox"], all_nouns()["shark"]
    assert (fox.where, fox.size, fox.turns, fox.tints) == (("ground",), "medium", False, True)
    assert (shark.where, shark.size, shark.turns) == (("under water",), "large", True)
    assert not all_nouns()["woman"].tints
    assert all_nouns()["baby"].head_only
    assert not all_nouns()["woman"].head_only


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[beast.cat]\nwhole = ["noto:cat"]', "no kind 'beast'"),
        ('[animal.cat]\nwhole = ["noto:cat"]\nwere = ["ground"]', "noun 'cat', field 'were'"),
        ('[animal.cat]\nwhole = ["noto:cat"]\nwhere = ["moon"]', "noun 'cat', field 'where.0'"),
        ("[animal.cat]\nlater = true", "noun 'cat' has no drawing"),
        (
            '[animal.cat]\nsynonyms = ["pet"]\nwhole = ["noto:cat"]\n'
            '[animal.dog]\nsynonyms = ["pet"]\nwhole = ["noto:dog"]',
            "'pet' means both 'cat' and 'dog'",
        ),
    ],
)
def test_a_wrong_row_is_refused_by_name(text, complaint):
    with pytest.raises(DataError, match=complaint):
        read_nouns([text])


def test_the_notices_name_every_set_with_author_and_licence():
    table = notices()
    for row in (row for row in SETS.values() if row.package):
        assert f"| [{row.title}]({row.source}) | {row.author} | [{row.licence}]" in table
