"""A hundred prompts in a person's words: synonyms, asides, sentences that training has not.

They were written before training had synonyms; the names in most of them are now among these.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Free:
    """A prompt and what it names. With a `second` thing, `relation` says where the first one is,
    seen from it; None where the prompt does not say."""

    prompt: str
    noun: str
    colour: str | None = None
    second: str | None = None
    second_colour: str | None = None
    relation: Literal["left", "right", "above", "below"] | None = None
    background: str = "white"


FREE: tuple[Free, ...] = (
    # One thing.
    Free("a puppy waiting for its owner", "dog"),
    Free("my kitten, freshly washed", "cat"),
    Free("could you paint a bunny for my daughter?", "rabbit"),
    Free("a jet taking off", "airplane"),
    Free("grandpa's old auto", "car"),
    Free("a lovely blossom in spring", "flower"),
    Free("I would love to see a pony", "horse"),
    Free("the happiest piglet on the farm", "pig"),
    Free("a woolly lamb", "sheep"),
    Free("a toad, please", "frog"),
    Free("one very old tortoise", "turtle"),
    Free("a sparrow singing at dawn", "bird"),
    Free("bumblebee on a summer morning", "bee"),
    Free("careful, a tarantula!", "spider"),
    Free("an alligator showing its teeth", "crocodile"),
    Free("a goldfish swimming around", "fish"),
    Free("a grizzly from the woods", "bear"),
    Free("a stag, proud and quiet", "deer"),
    Free("a hissing cobra", "snake"),
    Free("some prawn for dinner", "shrimp"),
    Free("a friendly android that helps people", "robot"),
    Free("yacht sailing far away", "sailboat"),
    Free("I need a cab right now", "taxi"),
    Free("a rescue chopper hovering", "helicopter"),
    Free("our little cottage", "house"),
    Free("the king's fortress", "castle"),
    Free("take a brolly, it may rain", "umbrella"),
    Free("reading spectacles", "glasses"),
    Free("cool shades for the beach", "sunglasses"),
    Free("an evening gown for the ball", "dress"),
    Free("a plumber's spanner", "wrench"),
    Free("a lumberjack's hatchet", "axe"),
    Free("a fiddle for folk songs", "violin"),
    Free("the singer's mic", "microphone"),
    Free("a bonfire burning brightly", "fire"),
    Free("a twister sweeping across the plain", "tornado"),
    Free("a heavy boulder", "rock"),
    Free("a toadstool from a fairy tale", "mushroom"),
    Free("an aubergine, fresh from the market", "eggplant"),
    Free("a portion of chips, hot and salty", "fries"),
    Free("strong espresso to wake me up", "coffee"),
    Free("a gateau for her wedding", "cake"),
    Free("a lucky shamrock", "clover"),
    Free("the fir tree from our holidays", "pine tree"),
    Free("an oak standing in a meadow", "tree"),
    Free("a phantom haunting us", "ghost"),
    Free("a wobbly molar that the dentist pulled", "tooth"),
    Free("a princess's tiara", "crown"),
    Free("carry water in a pail", "bucket"),
    Free("a hiker's rucksack", "backpack"),
    Free("mail arrived: an envelope", "envelope"),
    Free("bullhorn for the demonstration", "megaphone"),
    # One thing, and what is behind it.
    Free("a motorbike parked in front of a blue wall", "motorcycle", background="blue"),
    Free("draw me a penguin, make everything else yellow", "penguin", background="yellow"),
    Free("pink surroundings, and in their centre a guitar", "guitar", background="pink"),
    Free("an owl at night, so the backdrop is black", "owl", background="black"),
    Free("a tasty doughnut over purple paper", "donut", background="purple"),
    Free("locomotive, with nothing but green around", "train", background="green"),
    Free("a big lorry before an orange sky", "truck", background="orange"),
    Free("a sneaker photographed on gray concrete", "shoe", background="gray"),
    # One thing in a colour.
    Free("a scarlet automobile", "car", colour="red"),
    Free("an azure macaw, strange as it looks", "parrot", colour="blue"),
    Free("pretty please, a kitty, but make it orange", "cat", colour="orange"),
    Free("a violet piece of luggage that I lost", "suitcase", colour="purple"),
    Free("the purple armchair from my dream", "chair", colour="purple"),
    Free("someone dyed this sheep pink", "sheep", colour="pink"),
    Free("a crimson telly", "television", colour="red"),
    Free("an emerald serpent", "snake", colour="green"),
    Free("a frog whose skin turned blue", "frog", colour="blue"),
    Free("imagine bananas were red: one red banana", "banana", colour="red"),
    Free("the teapot got a coat of green paint", "teapot", colour="green"),
    Free("a bike with everything sprayed pink", "bicycle", colour="pink"),
    Free("a stallion, black from head to tail", "horse", colour="black"),
    Free("turquoise is boring, give me a yellow whale", "whale", colour="yellow"),
    Free("my favourite brolly, the yellow one", "umbrella", colour="yellow"),
    Free("a knight needs a blue shield", "shield", colour="blue"),
    # Two things, wherever they stand.
    Free("a kitten plus a mouse", "cat", second="mouse"),
    Free("the puppy met a duck", "dog", second="duck"),
    Free("both a lion and a zebra, as in Africa", "lion", second="zebra"),
    Free("breakfast: an egg along with a croissant", "egg", second="croissant"),
    Free("a violin accompanied by a trumpet", "violin", second="trumpet"),
    Free("my toolbox has a hammer as well as a wrench", "hammer", second="wrench"),
    Free("a pizza, and for dessert a cupcake", "pizza", second="cupcake"),
    Free("bunny nibbling at a carrot", "rabbit", second="carrot"),
    Free("a dragon fights a unicorn", "dragon", second="unicorn"),
    Free("an owl meeting a fox", "owl", second="fox"),
    # Two things in their places.
    Free("a rocket flying high over a house", "rocket", second="house", relation="above"),
    Free("look left, a puppy; look right, a kitten", "dog", second="cat", relation="left"),
    Free("put the pig rightmost, the cow leftmost", "pig", second="cow", relation="right"),
    Free("a crab crawling beneath an umbrella", "crab", second="umbrella", relation="below"),
    Free("lefthand side frog, righthand side snail", "frog", second="snail", relation="left"),
    Free("a crown floating above a teddy bear", "crown", second="teddy bear", relation="above"),
    Free("the upper thing is a kite, the lower one a dog", "kite", second="dog", relation="above"),
    Free("a kitten napping underneath a lamp", "cat", second="lamp", relation="below"),
    Free("west of the castle you find a tent", "tent", second="castle", relation="left"),
    Free("a cactus stands to the right, a camel left", "cactus", second="camel", relation="right"),
    Free(
        "a scarlet car driving left of an emerald bus",
        "car", colour="red", second="bus", second_colour="green", relation="left",
    ),
    Free(
        "high up a green apple, and right beneath it a pink pear",
        "apple", colour="green", second="pear", second_colour="pink", relation="above",
    ),
    Free(
        "one violet fish together with one yellow turtle",
        "fish", colour="purple", second="turtle", second_colour="yellow",
    ),
    Free(
        "a pink robot for my sister, a black rocket for my brother",
        "robot", colour="pink", second="rocket", second_colour="black",
    ),
)  # fmt: skip
