"""Pairs that training never shows, so that drawing them tells whether words combine.

Each thing is shown in other colours, styles and places, and each colour, style and place with other
things; only the pair is new.
"""

_COLOURS = """
purple: elephant, house, horse, owl, tree, star
blue: fox, apple, dog, banana, mushroom
green: cat, guitar, umbrella, crown, robot
pink: car, chair, shark
red: turtle, penguin, key, butterfly
orange: rabbit, rocket, whale
yellow: bicycle, teapot
brown: balloon
black: rose
white: tractor
"""

_STYLES = """
glossy 3D: lemon, bus, owl
flat: bear, castle, frog, strawberry
cartoon: helicopter, pineapple, tiger
outlined: snake, rocket, violin
silhouette: giraffe, airplane, robot
line icon: cat, sailboat
pixel art: dog, mushroom, house, car
"""

_PLACES = """
plain: lion, piano
gradient: donut, eagle
mountains: bicycle, dragon
sea: duck, rocket
beach: umbrella, horse
under water: shark, robot
field: elephant, tractor
forest: fox, castle
snow: cat, motorcycle
desert: car, astronaut
city: dinosaur, dog
sci-fi city: superhero, train
street: bear, taxi
room: teddy bear, guitar
table: banana, vase
space: ufo, whale
"""


def _read(table: str) -> frozenset[tuple[str, str]]:
    """Pairs of noun and word of a table with one word and its nouns a line."""
    rows = (line.split(": ") for line in table.strip().splitlines())
    return frozenset((noun, word) for word, nouns in rows for noun in nouns.split(", "))


HELD_OUT_COLOURS = _read(_COLOURS)
HELD_OUT_STYLES = _read(_STYLES)
HELD_OUT_PLACES = _read(_PLACES)
