"""Words are found however they are spelled, and harmless words are left alone."""

import sys
import tomllib
import unicodedata
from itertools import groupby, pairwise
from pathlib import Path

import pytest

from flux1.errors import SettingsError
from flux1.safety import prompts
from flux1.safety.prompts import MAX_TOLERANCE, PromptPolicy

WORDS = tomllib.loads(Path(prompts.__file__).with_name("words.toml").read_text("utf-8"))
LISTED = [(r["category"], r["level"], p) for r in WORDS["rules"] for p in r["phrases"]]
TOLERANCES = range(MAX_TOLERANCE + 1)


@pytest.fixture(scope="module")
def policy():
    return PromptPolicy.standard()


@pytest.fixture
def lists(tmp_path):
    def policy(deny: str = "", allow: str = "") -> PromptPolicy:
        (tmp_path / "deny").write_text(deny, "utf-8")
        (tmp_path / "allow").write_text(allow, "utf-8")
        return PromptPolicy.standard(tmp_path / "deny", tmp_path / "allow")

    return policy


@pytest.mark.parametrize("text", [
    "", "   ", "?!...", "🦊🦊🦊", "a red fox under the stars",
    # a listed word inside another
    "a cocktail party in Essex, Middlesex and Sussex", "grapes and a grapefruit", "scrapes",
    "an assassin bug on a classic glass bass", "therapist's office", "Scunthorpe United",
    "a sextant", "the sextet plays", "unisex clothing", "an analyst's canal", "a document",
    "matsutake and shiitake mushrooms", "a circumstance", "Penistone railway station",
    "bloodhound and bloodstone", "Gorey, county Wexford", "gorgeous gorgonzola",
    # words that are mostly something else
    "shooting star over the mountains", "shoot of bamboo", "kill bill movie poster",
    "a killer whale", "time bomb cocktail, photo bomb, bath bombs", "Moby Dick, the white whale",
    "a rooster, a cock crowing at dawn", "donkey and ass in a stable", "blue tits at a feeder",
    "pussy willow branches in a vase", "breast cancer awareness ribbon", "chicken breast with rice",
    "robin redbreast", "an atomic bomb museum", "gun metal grey", "head shot of a businessman",
    "the hanging gardens", "drug store at night", "crack in the wall", "magna cum laude diploma",
    "a robot boy and his dog", "children playing football", "a teenage mutant ninja turtle",
    "a baby sleeping in a blanket", "a mother breastfeeding her newborn baby",
    # the harmless company of a listed word
    "a nude-coloured dress", "nude lipstick", "nude colored high heels", "stars seen by naked eye",
    "a naked mole rat", "a naked mole-rat with its baby", "naked cake with berries",
    "naked branches in winter", "a yellow rape field", "oilseed-rape in blossom",
    "The Rape of the Sabine Women, sculpture", "same-sex parents with their child",
    "sex education class for teenagers", "blood orange juice", "Blood Moon over Utah", "gore-tex",
    "Al Gore speaking", "a murder of crows", "the Suicide Squad", "a suicide-prevention poster",
    "1965 Lincoln with suicide doors", "food porn, a juicy burger", "baby blue and baby's breath",
    "no nudity, no gore, no blood", "an orgy of colours",
    # sentences that would spell something if punctuation were dropped
    "the people who're dancing", "take the pen, is it yours? an us exhibit", "U.S.A. flag",
    "S M L X L sizes", "A B C D E alphabet blocks", "version 1.2.3", "C++ and F#", "user@site.com",
    "$100 bill", "R2D2 and C3PO", "h264 mp4 4k 8k 35mm f1.8", "X" * 3,
])  # fmt: skip
def test_harmless_prompts_pass_at_the_strictest(policy, text):
    assert not policy.check(text, 0).blocked, policy.check(text, 0)


@pytest.mark.parametrize("text", [
    "nude", "NUDE", "a Nude.", "'nude'", "(nude)", "nude,woman", "nude/woman", "nude_woman",
    "n.u.d.e", "N.U.D.E.", "n-u-d-e", "n_u_d_e", "n*u*d*e", "n u d e", "n  u  d  e",
    "n . u . d . e", "a n u d e woman", "a big-n.u.d.e-woman", "n.u.d.e p.e.r.s.o.n",
    "nu.de", "nu-de", "n*ude", "nud·e",
    "nud3", "NUD3", "n.u.d.3", "nuuude", "nudeeeee", "nuuud333",
    "nüdé", "nu\u0308de\u0301", "nu\u200bde", "n\u00adu\u00add\u00ade", "n\u2060ude", "nude\ufe0f",
    "\uff4e\uff55\uff44\uff45", "\U0001d4f7\U0001d4fe\U0001d4ed\U0001d4ee", "ⓝⓤⓓⓔ",
    "nud\u0435", "n\u03c5de", "n\u034fude",
    "no nude people", "a nude person with nude lipstick",
])  # fmt: skip
def test_a_word_is_found_in_disguise(policy, text):
    verdict = policy.check(text, 3)
    assert verdict.categories == ("sexual",)
    assert verdict.scores == {"sexual": pytest.approx(4 / 7)}
    assert not policy.check(text, 4).blocked


@pytest.mark.parametrize("text", ["p0rn", "$ex sc3ne", "blowj0b", "p*o*r*n", "having s3x"])
def test_digits_and_symbols_stand_for_letters(policy, text):
    assert policy.check(text, 4).categories == ("sexual",)


@pytest.mark.parametrize("text", [
    "a nude child", "naked kids", "nude k1d", "n.u.d.e c.h.i.l.d", "sexy schoolgirl",
    "a school girl, sexy", "lingerie, little girl", "a 12-year-old, nude", "nude 12 year old",
    "nude, 12yo", "17 yr old topless", "naked, aged 9", "a fifteen year old in a sex scene",
    "nude girl, 14 y/o", "child porn", "ch1ld p0rn", "lolicon", "erotic teen",
])  # fmt: skip
@pytest.mark.parametrize("tolerance", TOLERANCES)
def test_minors_are_never_sexual(policy, text, tolerance):
    verdict = policy.check(text, tolerance)
    assert "sexual/minors" in verdict.categories
    assert verdict.scores["sexual/minors"] == 1


@pytest.mark.parametrize("text", [
    "a nude 18 year old woman", "nude, 25yo", "a nude 112 year old oak", "nude, 1920s photograph",
    "a nude woman on a baby blue sofa",
])  # fmt: skip
def test_grown_ups_are_not_minors(policy, text):
    assert policy.check(text, 0).categories == ("sexual",)


def test_every_listed_phrase_blocks_in_its_category_up_to_its_level(policy):
    for category, level, phrase in LISTED:
        assert 0 <= level <= MAX_TOLERANCE, phrase
        for text in (phrase, f"A painting, {phrase.upper()}!", phrase.replace(" ", "-")):
            for tolerance in range(level + 1):
                assert category in policy.check(text, tolerance).categories, text


def test_what_blocks_blocks_at_every_stricter_tolerance(policy):
    for category, _, phrase in LISTED:
        blocked = [set(policy.check(phrase, t).categories) for t in TOLERANCES]
        assert all(lenient <= strict for strict, lenient in pairwise(blocked))
        assert bool(blocked[-1]) == (category == "sexual/minors"), phrase


def test_every_spared_phrase_and_every_young_one_passes_alone(policy):
    for phrase in WORDS["spared"] + WORDS["young"]:
        assert not policy.check(phrase.replace("#", "7"), 0).blocked, phrase


def test_the_lists_are_written_as_they_are_read():
    for phrase in [p for _, _, p in LISTED] + WORDS["spared"] + WORDS["young"]:
        words = prompts._WORD.findall(prompts._normal(phrase.replace("#", "7")))
        assert phrase.replace("#", "7").split() == words
    spared = set(WORDS["spared"])
    assert len(spared) == len(WORDS["spared"])
    assert not spared & {p for _, _, p in LISTED}
    assert len({p for _, _, p in LISTED}) == len(LISTED)


@pytest.mark.parametrize("tolerance", TOLERANCES)
def test_the_operators_words_block_at_every_tolerance(lists, tolerance):
    policy = lists("# ours\n\nAcme Corp  # a client\nrødgrød\n裸体\nnaked gun\n", "acme corp\n")
    for text in ("acme corp logo", "ACME-CORP", "a.c.m.e corp", "Rødgrød", "一个裸体女人",
                 "The Naked Gun"):  # fmt: skip
        assert policy.check(text, tolerance).categories == ("operator",), text
    assert not policy.check("acme, the corporation; corp acme; 体裸", tolerance).blocked


def test_what_is_allowed_is_lifted_within_that_phrase_only(lists):
    policy = lists(allow="nude descending a staircase\nblood\nchild\nchild porn\n")
    assert not policy.check("Nude Descending a Staircase, no. 2", 0).blocked
    assert not policy.check("blood", 0).blocked
    assert policy.check("nude descending a ladder", 0).categories == ("sexual",)
    assert policy.check("nude descending a staircase, nude", 0).categories == ("sexual",)
    for text in ("a nude child descending", "child porn", "nude descending a staircase, a child"):
        assert "sexual/minors" in policy.check(text, 6).categories


@pytest.mark.parametrize(("content", "complaint"), [
    (b"fine\n!!!\n", "line 2 of .* has no word"),
    (b"caf\xe9\n", "is not UTF-8 text"),
    (None, "there is no"),
])  # fmt: skip
def test_a_bad_list_is_one_clear_line(tmp_path, content, complaint):
    path = tmp_path / "words"
    if content is not None:
        path.write_bytes(content)
    for setting in ("deny", "allow"):
        with pytest.raises(SettingsError, match=complaint) as caught:
            PromptPolicy.standard(**{setting: path})
        assert str(caught.value).startswith(f"{setting}_words: ")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("tolerance", [-1, 7])
def test_there_are_seven_tolerances(policy, tolerance):
    with pytest.raises(ValueError, match="is not from 0 to 6"):
        policy.check("a fox", tolerance)


@pytest.mark.parametrize("piece", [
    "nude ", "naked eye ", "child nude ", "n.u.d.e.", "n u d e ", "a", "aaa$", "n.", "1 ",
    "12 year ", "裸", "$", "a\u0301\u0316", "no ", "hanging ", "sexsexx3x3xx", "\ufdfa", "_",
    "'", "x!",
])  # fmt: skip
def test_work_grows_as_the_text_does(policy, piece):
    """Twice the text, (about) twice the lines of Python run; the patterns hold no nested repeat."""

    def work(text: str) -> int:
        lines = 0

        def count(frame, event, argument):
            nonlocal lines
            lines += event == "line"
            return count

        before = sys.gettrace()
        sys.settrace(count)
        try:
            policy.check(text, 2)
        finally:
            sys.settrace(before)
        return lines

    small, large = (work((piece * size)[:size]) for size in (600, 2400))
    assert large <= 5 * small + 100


def test_no_long_run_of_marks_is_normalized(policy, monkeypatch):
    """Sorting such a run takes Python quadratic time: 0.8 s for a prompt of nothing else."""
    runs = []
    normalize = unicodedata.normalize

    def spy(form, text):
        marks = groupby(text, lambda c: unicodedata.combining(c) > 0)
        runs.extend(len(list(run)) for combining, run in marks if combining)
        return normalize(form, text)

    monkeypatch.setattr(unicodedata, "normalize", spy)
    policy.check("nude" + "\u0301\u0316" * 8000 + "e\u0301", 0)
    assert runs
    assert max(runs) <= 4


def test_the_longest_prompt_is_read_to_its_end(policy):
    for filler in ("a ", "a\u0301\u0316", "n.", "naked eye "):
        text = (filler * 32_000)[:31_900] + " , a nude person"
        assert policy.check(text, 3).categories == ("sexual",)
