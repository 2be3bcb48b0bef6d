"""Other words for the things that can be drawn: synonyms, young ones, look-alikes."""

_TABLE = """
airplane: plane, aeroplane, jet, jet plane, airliner, aircraft, biplane
ant: worker ant, fire ant
axe: ax, battle axe
backpack: rucksack, knapsack, school bag, schoolbag
bacon: rasher, bacon strip
balloon: party balloon, helium balloon
basket: hamper, wicker basket, picnic basket
bat: vampire bat, fruit bat
bear: grizzly bear, bear cub
bed: bunk, cot, mattress
bee: honeybee, honey bee, wasp, hornet
bell: church bell, jingle bell, school bell
bicycle: bike, push bike, mountain bike, cycle
bird: songbird, finch, robin, sparrow, canary, little bird, birdie
bomb: grenade
book: novel, textbook, diary, notebook, volume
boxing glove: boxer's glove
bread: loaf, loaf of bread, bun, bread roll, toast
broom: broomstick, besom
bucket: pail, tin pail
burger: hamburger, cheeseburger, beefburger
bus: coach, school bus, minibus
butterfly: moth, monarch butterfly
cactus: cactus plant, prickly pear, succulent
cake: birthday cake, chocolate cake, wedding cake, sponge cake
calendar: wall calendar, date sheet
camel: dromedary, bactrian camel
camera: photo camera, digital camera
candle: wax light, lit candle
candy: sweet, bonbon, wrapped sweet
canoe: kayak, rowing boat
car: automobile, auto, sedan, motorcar, vehicle, hatchback
castle: fortress, palace, citadel, fort
cat: kitten, kitty, tomcat, house cat, pussycat, tabby
chair: seat, armchair, stool
cheese: piece of cheese, wedge of cheese, cheddar
cherries: pair of cherries
chick: baby chicken, little chick, hatchling
chicken: hen, farm hen
chocolate: bar of chocolate, chocolate bar
church: chapel, cathedral, abbey
cloud: little cloud, rain cloud
clover: lucky clover, shamrock, four leaf clover
coffee: cup of coffee, hot drink, espresso, cappuccino, mug of coffee
coin: penny, dime, cent
computer: desktop computer, pc, personal computer
cookie: biscuit, chocolate cookie
corn: maize, sweetcorn, corn on the cob
cow: dairy cow, calf, heifer
crab: sea crab, beach crab
crocodile: alligator, croc, caiman
croissant: crescent roll, french pastry
crown: royal crown, diadem, coronet
crystal ball: magic ball, fortune teller's ball
cup: mug with a straw, soft drink, drink with a straw
cupcake: muffin, fairy cake
dagger: knife, blade, dirk
deer: doe, fawn, buck, stag, roe
diamond: gem, jewel, brilliant, gemstone
dice: die, gaming die
dog: puppy, doggy, hound, pup, poodle, terrier, labrador
dolphin: bottlenose dolphin, porpoise
donut: doughnut, glazed donut
door: wooden door, house door, front door
dragon: fire dragon, wyvern
dress: gown, frock, evening dress, robe
drum: snare drum, drum with sticks
duck: duckling, mallard, drake
egg: chicken egg, hen's egg
eggplant: aubergine, brinjal
elephant: elephant calf, mammoth, tusker
envelope: letter, mail, closed letter
eye: eyeball, single eye
factory: plant with chimneys, industrial plant, mill
feather: plume, quill, bird's feather
fire: flame, flames, campfire, blaze
firetruck: fire engine, fire truck, fire brigade car
fish: goldfish, trout, salmon, carp
flamingo: wading bird
flashlight: torch, electric torch, pocket lamp
flower: blossom, bloom, daisy, flowering plant
flute: recorder, wooden flute
fox: vixen, fox cub
fries: french fries, potato chips, chips, potato fries
frog: toad, tree frog, bullfrog
garlic: garlic bulb, clove of garlic
gear: cogwheel, cog, gear wheel
ghost: spook, phantom, spirit, spectre
giraffe: giraffe calf, long-necked giraffe
glasses: spectacles, eyeglasses, reading glasses
globe: earth, world globe, planet earth
gloves: pair of gloves, mittens
goat: billy goat, kid goat, nanny goat
grapes: bunch of grapes, cluster of grapes
guitar: acoustic guitar, electric guitar
hammer: mallet, claw hammer
headphones: headset, earphones
heart: love heart, valentine
hedgehog: porcupine, little hedgehog
helicopter: chopper, copter, whirlybird
hippo: hippopotamus, river horse
horse: pony, mare, stallion, foal, steed
hotdog: frankfurter, sausage in a bun
hourglass: sand glass, sandglass, egg timer
house: home, cottage, little house, hut, cabin, villa
ice cream: ice cream cone, gelato, soft ice
jeans: denim trousers, denims, trousers
jellyfish: medusa, sea jelly
kangaroo: wallaby, roo
key: door key, house key
keyboard: computer keyboard, typing keyboard
kite: toy kite, flying kite
kiwi: kiwi fruit, kiwifruit
koala: koala bear
ladder: stepladder, rung ladder
ladybug: ladybird, ladybeetle
lamp: light bulb, bulb, electric bulb
laptop: notebook computer, portable computer
leaf: maple leaf, autumn leaf
lemon: sour lemon, citrus fruit
lion: lioness, king of beasts
lipstick: lip colour, lip gloss
lobster: crayfish, langoustine
lollipop: lolly, candy on a stick
magnet: horseshoe magnet
mango: mango fruit
medal: award, sports medal
megaphone: loudhailer, loudspeaker, speaking trumpet
microphone: mic, mike, studio microphone
mirror: looking glass, hand mirror
monkey: ape, chimp, chimpanzee, baboon
moon: crescent moon, crescent, half moon
motorcycle: motorbike, motor bike
mountain: mount, peak, snowy mountain, hill
mouse: little mouse, field mouse, rodent
mushroom: toadstool, fungus, fly agaric
necktie: tie, silk tie
octopus: eight-armed octopus
onion: bulb onion
orange: tangerine, mandarin, clementine
owl: barn owl, night owl, owlet
palm tree: palm, coconut palm, coconut tree
pancakes: stack of pancakes, flapjacks, hotcakes
panda: panda bear, giant panda
paperclip: paper clip, metal clip
parachute: chute, parachutist's canopy
parrot: parakeet, cockatoo, budgie
peach: nectarine, apricot
peacock: peafowl, peahen
peanut: groundnut
pear: williams pear
pencil: crayon, pencil for writing
penguin: emperor penguin, penguin chick
phone: smartphone, mobile phone, cell phone, mobile, cellphone
piano: piano keys, keyboard of a piano
pie: fruit pie, apple pie, tart
pig: piglet, hog, swine, piggy
pill: tablet, capsule, medicine
pine tree: pine, fir, fir tree, spruce, conifer, evergreen
pineapple: ananas, tropical pineapple
pizza: slice of pizza, pizza slice
planet: saturn, ringed planet
plant: potted plant, houseplant, pot plant
police car: patrol car, cop car, police cruiser
popcorn: box of popcorn, bag of popcorn
pretzel: salted pretzel, brezel
pumpkin: jack-o'-lantern, halloween pumpkin, squash
puzzle: puzzle piece, jigsaw piece, jigsaw
rabbit: bunny, hare, bunny rabbit
race car: racing car, formula car, racer
radio: radio set, wireless set, transistor radio
rainbow: rainbow arc, colourful rainbow
rhino: rhinoceros
ribbon: bow, gift ribbon
ring: diamond ring, wedding ring, engagement ring
robot: android, droid, mechanical man, automaton
rock: stone, boulder, pebble
rocket: spaceship, space rocket, spacecraft, missile
rooster: cock, cockerel
rose: rose flower, rosebud
sailboat: yacht, sailing boat, sailing ship
sandwich: toast sandwich, sub sandwich, club sandwich
saw: hand saw, handsaw
saxophone: sax, tenor sax
scissors: pair of scissors, shears
scooter: kick scooter, push scooter
shark: hammerhead, reef shark
sheep: lamb, ewe, woolly sheep
shell: seashell, sea shell, conch
shield: knight's shield, buckler
ship: boat, ocean liner, cruise ship, steamer, ferry
shirt: t-shirt, tee, tshirt
shoe: sneaker, trainer, running shoe, boot
shower: shower head, bathroom shower
shrimp: prawn, king prawn
skateboard: longboard, board with wheels
skull: death's head, human skull
skunk: polecat, stinky skunk
snail: garden snail, slug with a shell
snake: serpent, viper, python, cobra
snowflake: ice crystal, flake of snow
snowman: snow figure, man of snow
soccer ball: football, leather ball
sock: stocking, pair of socks
spider: tarantula, garden spider
spider web: cobweb, spider's web
squid: calamari, cuttlefish
star: little star
strawberry: garden strawberry, strawberry fruit
suitcase: luggage, travel bag, trolley bag, baggage
sun: sunshine, bright sun
sunflower: helianthus, flower of the sun
sunglasses: shades, dark glasses
sushi: sushi roll, nigiri
swan: cygnet
sword: crossed swords, pair of swords, sabre, sabers
taco: mexican taco, tortilla shell
taxi: cab, taxicab
teapot: tea pot, kettle
teddy bear: teddy, plush bear, stuffed bear
telephone: landline phone, desk phone
television: tv, tv set, television set, telly
tent: camping tent, wigwam
tiger: tigress, bengal tiger
tomato: cherry tomato, tomato fruit
tooth: molar, milk tooth
toothbrush: brush for teeth, dental brush
tornado: twister, whirlwind, cyclone
tractor: farm tractor, farmer's tractor
train: locomotive, steam engine, railway engine
tree: oak, oak tree, maple tree, leafy tree, elm
trophy: cup of the winner, winner's cup, prize
truck: lorry, delivery truck, van
trumpet: bugle, brass horn, cornet
tulip: tulip flower
turtle: tortoise, sea turtle, terrapin
ufo: flying saucer, alien spaceship
umbrella: parasol, rain umbrella, brolly
unicorn: horse with a horn, magic unicorn
violin: fiddle, viola
volcano: erupting volcano, fire mountain
waffle: belgian waffle
watch: wristwatch, wrist watch, timepiece
watermelon: slice of watermelon, melon slice
whale: humpback, orca
wine: glass of wine, wineglass
wolf: wolf cub, coyote
wrench: spanner, adjustable wrench
zebra: striped horse
"""


def _read() -> dict[str, tuple[str, ...]]:
    rows = (line.split(": ") for line in _TABLE.strip().splitlines())
    return {noun: tuple(names.split(", ")) for noun, names in rows}


SYNONYMS: dict[str, tuple[str, ...]] = _read()
