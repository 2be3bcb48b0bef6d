"""The words of flux-mini's world: nouns, colours, styles, and the pairs kept out of training."""

import re
from dataclasses import dataclass

# noun=icon where the name in the Fluent sets differs. Each noun is one drawing in each style.
_NOUNS = """
airplane anchor ant apple=red-apple avocado axe backpack bacon balloon banana baseball
basket=basket basketball bat bear bed bee=honeybee bell bicycle bird bomb book=closed-book
boxing-glove brain bread broccoli broom bucket burger=hamburger bus butter butterfly cactus
cake=birthday-cake calendar camel=two-hump-camel camera candle candy canoe car=automobile carrot
castle cat chair cheese=cheese-wedge cherries chick=front-facing-baby-chick chicken
chocolate=chocolate-bar church cloud clover=four-leaf-clover coconut coffee=hot-beverage coin
computer=desktop-computer cookie corn=ear-of-corn cow crab crocodile croissant crown
crystal-ball cucumber cup=cup-with-straw cupcake dagger deer diamond=gem-stone dice=game-die dog
dolphin donut=doughnut door dragon dress drum duck egg eggplant elephant envelope eye factory
feather fire=fire firetruck=fire-engine fish flamingo flashlight flower=blossom flute fox
fries=french-fries frog garlic gear ghost giraffe glasses globe=globe-showing-americas gloves
goat grapes guitar hammer headphones=headphone heart=red-heart hedgehog helicopter
hippo=hippopotamus horse hotdog=hot-dog hourglass=hourglass-done house ice-cream=soft-ice-cream
jeans jellyfish kangaroo key keyboard kite kiwi=kiwi-fruit koala ladder ladybug=lady-beetle
lamp=light-bulb laptop leaf=maple-leaf lemon lion lipstick lobster lollipop magnet mango
medal=sports-medal megaphone microphone mirror monkey moon=crescent-moon motorcycle mountain
mouse mushroom necktie octopus onion orange=tangerine owl palm-tree=palm-tree pancakes panda
paperclip parachute parrot peach peacock peanut=peanuts pear pencil penguin phone=mobile-phone
piano=musical-keyboard pie pig pill pine-tree=evergreen-tree pineapple pizza
planet=ringed-planet plant=potted-plant police-car popcorn pretzel pumpkin=jack-o-lantern
puzzle=puzzle-piece rabbit race-car=racing-car radio rainbow rhino=rhinoceros ribbon ring robot
rock rocket rooster rose sailboat sandwich saw=carpentry-saw saxophone scissors
scooter=kick-scooter shark sheep=ewe shell=spiral-shell shield ship shirt=t-shirt
shoe=running-shoe shower shrimp skateboard skull skunk snail snake snowflake
snowman=snowman-without-snow soccer-ball sock=socks spider spider-web squid star strawberry
suitcase=luggage sun sunflower sunglasses sushi swan sword=crossed-swords taco taxi teapot
teddy-bear telephone television tent tiger tomato tooth toothbrush tornado tractor
train=locomotive tree=deciduous-tree trophy truck=delivery-truck trumpet tulip turtle
ufo=flying-saucer umbrella unicorn violin volcano waffle watch watermelon whale wine=wine-glass
wolf wrench zebra
"""


def _parse() -> dict[str, str]:
    table = {}
    for entry in _NOUNS.split():
        noun, _, icon = entry.partition("=")
        table[noun.replace("-", " ")] = icon or noun
    return table


ICONS: dict[str, str] = _parse()
NOUNS: tuple[str, ...] = tuple(sorted(ICONS))

_PLURALS = {
    "butterfly": "butterflies", "candy": "candies", "cherries": "cherries", "deer": "deer",
    "dice": "dice", "fish": "fish", "fly": "flies", "foot": "feet", "footprints": "footprints",
    "fries": "fries", "glasses": "glasses", "gloves": "gloves", "goose": "geese",
    "grapes": "grapes", "headphones": "headphones", "jeans": "jeans", "knife": "knives",
    "leaf": "leaves", "mouse": "mice", "pancakes": "pancakes", "scarf": "scarves",
    "scissors": "scissors", "sheep": "sheep", "shorts": "shorts", "shrimp": "shrimp",
    "strawberry": "strawberries", "sunglasses": "sunglasses", "tooth": "teeth", "wolf": "wolves",
    "baby": "babies", "battery": "batteries", "factory": "factories", "money": "money bags",
    "bread": "loaves of bread", "popcorn": "popcorn", "broccoli": "broccoli", "corn": "corn",
    "butter": "butter", "garlic": "garlic", "honey": "pots of honey", "bacon": "bacon",
    "ginger": "ginger", "salt": "salt", "soap": "soap", "money bag": "money bags",
    "volcano": "volcanoes", "mango": "mangoes", "potato": "potatoes", "tomato": "tomatoes",
    "mosquito": "mosquitoes", "tornado": "tornadoes", "ladybug": "ladybugs",
}  # fmt: skip
# Already plural, or not counted: no article in front.
NO_ARTICLE = {
    "bacon", "bread", "broccoli", "butter", "candy", "cheese", "cherries", "chocolate", "coffee",
    "corn", "fire", "french fries", "fries", "garlic", "glasses", "gloves", "grapes", "headphones",
    "hot drink", "jeans", "luggage", "pancakes", "popcorn", "scissors", "sunglasses", "sushi",
    "wine",
}  # fmt: skip


@dataclass(frozen=True)
class Colour:
    name: str
    rgb: tuple[int, int, int]


COLOURS: tuple[Colour, ...] = (
    Colour("red", (220, 38, 38)),
    Colour("orange", (249, 135, 30)),
    Colour("yellow", (250, 214, 50)),
    Colour("green", (52, 168, 83)),
    Colour("blue", (50, 110, 225)),
    Colour("purple", (140, 70, 200)),
    Colour("pink", (245, 150, 190)),
    Colour("brown", (130, 84, 50)),
    Colour("black", (28, 28, 32)),
    Colour("white", (250, 250, 250)),
    Colour("gray", (150, 154, 160)),
)
COLOUR_NAMES: tuple[str, ...] = tuple(c.name for c in COLOURS)
COLOUR_SYNONYMS: dict[str, tuple[str, ...]] = {
    "red": ("scarlet", "crimson", "ruby", "bright red", "cherry-red"),
    "orange": ("amber", "bright orange"),
    "yellow": ("golden", "lemon-yellow", "bright yellow"),
    "green": ("emerald", "grass-green", "leaf-green"),
    "blue": ("azure", "sky-blue", "sapphire", "navy"),
    "purple": ("violet", "lilac", "mauve"),
    "pink": ("rosy", "rose-pink", "pale pink"),
    "brown": ("chestnut", "chocolate-brown", "tan"),
    "black": ("jet-black", "pitch-black", "ebony"),
    "white": ("snow-white", "ivory", "milky"),
    "gray": ("grey", "grey", "silver"),
}

# Style -> the words that name it; the first style is what a caption without style words shows.
STYLES: dict[str, tuple[str, ...]] = {
    "glossy": ("glossy", "glossy 3d", "3d"),
    "flat": ("flat", "flat vector", "simple flat"),
}

# Never shown in training: an object in this colour, an object in this style.
HELD_OUT_COLOURS: frozenset[tuple[str, str]] = frozenset(
    {
        ("elephant", "purple"), ("fox", "blue"), ("car", "pink"), ("apple", "blue"),
        ("guitar", "green"), ("house", "purple"), ("cat", "green"), ("dog", "blue"),
        ("butterfly", "red"), ("rocket", "orange"), ("tree", "purple"), ("fish", "pink"),
        ("umbrella", "green"), ("balloon", "brown"), ("horse", "purple"), ("banana", "blue"),
        ("rabbit", "orange"), ("bus", "purple"), ("chair", "pink"), ("robot", "green"),
        ("turtle", "red"), ("owl", "purple"), ("whale", "orange"), ("key", "red"),
        ("crown", "green"), ("bicycle", "yellow"), ("mushroom", "blue"), ("penguin", "red"),
        ("star", "purple"), ("teapot", "yellow"),
    }
)  # fmt: skip
HELD_OUT_STYLES: frozenset[tuple[str, str]] = frozenset(
    (noun, "flat")
    for noun in (
        "bear", "bell", "cactus", "camera", "castle", "cow", "donut", "frog", "helicopter",
        "lemon", "lion", "octopus", "panda", "pineapple", "strawberry", "tiger",
    )
)  # fmt: skip


_JOINT = re.compile(" (of|in|on|with) ")


def plural(noun: str) -> str:
    """English plural of a noun of the list, or of another regular one."""
    if joint := _JOINT.search(noun):
        return plural(noun[: joint.start()]) + noun[joint.start() :]
    if noun in _PLURALS:
        return _PLURALS[noun]
    if _sounds_plural(noun):
        return noun
    if noun.endswith(("s", "x", "ch", "sh")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"


def with_article(words: str, noun: str) -> str:
    """'red apple' -> 'a red apple'; leaves plural and uncounted nouns alone."""
    if noun in NO_ARTICLE or _sounds_plural(noun):
        return words
    vowel = words[0] in "aeio" or (words[0] == "u" and not words.startswith(("uni", "ufo")))
    return f"{'an' if vowel else 'a'} {words}"


def _sounds_plural(noun: str) -> bool:
    """As in 'shears' and 'earphones', unlike 'octopus' and 'looking glass'."""
    return noun.endswith("s") and not noun.endswith(("us", "ss")) and " of " not in noun
