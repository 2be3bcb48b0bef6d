"""Models: one frozen row each. Code asks a row's fields, never its name."""

from dataclasses import dataclass, replace
from typing import Literal, Protocol

from flux1.errors import UnknownModelError, nearest
from flux1.flow.shift import Schedule
from flux1.model.config import (
    AutoencoderConfig,
    BertConfig,
    ClipConfig,
    T5Config,
    TransformerConfig,
)
from flux1.words import Vocabulary


@dataclass(frozen=True)
class Licence:
    """The terms that a model's weights carry, and what they ask of whoever runs it."""

    name: str
    url: str
    commercial_use: bool
    duties: str = ""


APACHE = Licence("Apache-2.0", "https://www.apache.org/licenses/LICENSE-2.0", commercial_use=True)
DEV_NON_COMMERCIAL = Licence(
    "FLUX.1 [dev] Non-Commercial License",
    "https://huggingface.co/black-forest-labs/FLUX.1-dev/blob/main/LICENSE.md",
    commercial_use=False,
    duties="non-commercial use; filter or review what it draws; "
    "disclose AI generation where the law asks",
)


Encoder = Literal["clip", "t5", "bert"]
EncoderConfig = ClipConfig | T5Config | BertConfig


@dataclass(frozen=True)
class Text:
    """A model's text encoders, by their kind, and how many tokens of text its transformer reads:
    FLUX.1's CLIP, for the pooled vector, and T5, for the sequence; or one sentence encoder for
    both."""

    max_tokens: int
    clip: ClipConfig | None = None
    t5: T5Config | None = None
    bert: BertConfig | None = None

    @property
    def encoders(self) -> dict[Encoder, EncoderConfig]:
        """Those that it has."""
        every: dict[Encoder, EncoderConfig | None] = {
            "clip": self.clip,
            "t5": self.t5,
            "bert": self.bert,
        }
        return {kind: config for kind, config in every.items() if config is not None}


@dataclass(frozen=True)
class Defaults:
    """The values that a request gets where it does not say."""

    width: int
    height: int
    steps: int
    guidance: float | None  # the embedded scale; None where the network has no such input
    true_cfg: float = 1.0
    solver: str = "euler"


class Sized(Protocol):
    """The part of a request that the number of its tokens depends on. `least_text` are the text
    tokens that are read at least, None for the model's own number."""

    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def least_text(self) -> int | None: ...


@dataclass(frozen=True)
class Tokens:
    """The sequence that the transformer reads in one row of a call."""

    image: int
    text: int

    @property
    def all(self) -> int:
        """Image and text tokens."""
        return self.image + self.text


DEV_SCHEDULE = Schedule()


@dataclass(frozen=True)
class Variant:
    """A model: shapes, how it is sampled, where its weights come from.

    `weights` says how they are found: in the package, among the user's files, or drawn at random
    from a fixed seed (a network for tests that needs no file). `trained_sizes` (width and height)
    and `words` are told by the weights themselves; FLUX.1's tell neither.
    """

    id: str
    title: str
    transformer: TransformerConfig
    autoencoder: AutoencoderConfig
    text: Text
    defaults: Defaults
    licence: Licence
    weights: Literal["shipped", "local", "random"]
    time_shift: bool = True
    schedule: Schedule = DEV_SCHEDULE
    max_pixels: int = 2048 * 2048
    aliases: tuple[str, ...] = ()
    repository: str | None = None
    trained_sizes: tuple[tuple[int, int], ...] = ()
    words: Vocabulary | None = None

    @property
    def size_multiple(self) -> int:
        """Sides must be multiples of this: one token is a 2x2 patch of latents."""
        return 2 * self.autoencoder.downscale

    def grid(self, request: Sized) -> tuple[int, int]:
        """Rows and columns of image tokens."""
        return request.height // self.size_multiple, request.width // self.size_multiple

    def tokens(self, request: Sized) -> Tokens:
        """The tokens that the transformer reads for one picture of a request, under each of its
        conditions."""
        rows, columns = self.grid(request)
        return Tokens(rows * columns, request.least_text or self.text.max_tokens)


_FLUX_TEXT = Text(512, ClipConfig(), T5Config())
_FLUX_DEFAULTS = Defaults(width=1024, height=1024, steps=28, guidance=3.5)

FLUX_DEV = Variant(
    id="flux-dev",
    title="FLUX.1 [dev], 12 B, guidance-distilled",
    transformer=TransformerConfig(),
    autoencoder=AutoencoderConfig(),
    text=_FLUX_TEXT,
    defaults=_FLUX_DEFAULTS,
    licence=DEV_NON_COMMERCIAL,
    weights="local",
    aliases=("dev", "FLUX.1-dev", "black-forest-labs/FLUX.1-dev"),
    repository="black-forest-labs/FLUX.1-dev",
)
FLUX_KREA = Variant(
    id="flux-krea",
    title="FLUX.1 Krea [dev], 12 B, tuned for photographs",
    transformer=TransformerConfig(),
    autoencoder=AutoencoderConfig(),
    text=_FLUX_TEXT,
    defaults=Defaults(width=1024, height=1024, steps=28, guidance=4.5),
    licence=DEV_NON_COMMERCIAL,
    weights="local",
    aliases=("krea", "flux-dev-krea", "FLUX.1-Krea-dev", "black-forest-labs/FLUX.1-Krea-dev"),
    repository="black-forest-labs/FLUX.1-Krea-dev",
)
FLUX_SCHNELL = Variant(
    id="flux-schnell",
    title="FLUX.1 [schnell], 12 B, 1 to 4 steps",
    transformer=TransformerConfig(guidance_embed=False),
    autoencoder=AutoencoderConfig(),
    text=Text(256, ClipConfig(), T5Config()),
    defaults=Defaults(width=1024, height=1024, steps=4, guidance=None),
    licence=APACHE,
    weights="local",
    time_shift=False,
    aliases=("schnell", "FLUX.1-schnell", "black-forest-labs/FLUX.1-schnell"),
    repository="black-forest-labs/FLUX.1-schnell",
)
_MINI_TRANSFORMER = TransformerConfig(
    vec_in_dim=384,
    context_in_dim=384,
    hidden_size=256,
    num_heads=4,
    depth=2,
    depth_single_blocks=9,
    axes_dim=(8, 28, 28),
)
FLUX_MINI = Variant(
    id="flux-mini",
    title="flux-mini, 14 M, guidance-distilled, illustrations at 256x256, shipped",
    transformer=_MINI_TRANSFORMER,
    autoencoder=AutoencoderConfig(
        channels=24,
        channel_mult=(1, 1, 2, 4, 4),
        res_blocks=1,
        norm_groups=8,
        scale_factor=0.79730275,
        shift_factor=-0.08645476,
    ),
    text=Text(32, bert=BertConfig(max_positions=64)),
    defaults=Defaults(width=256, height=256, steps=28, guidance=3.5),
    licence=APACHE,
    weights="shipped",
    max_pixels=512 * 512,
    aliases=("mini",),
)
FLUX_MINI_SCHNELL = replace(
    FLUX_MINI,
    id="flux-mini-schnell",
    title="flux-mini in 4 steps: a LoRA on flux-mini, shipped",
    transformer=replace(_MINI_TRANSFORMER, guidance_embed=False),
    defaults=Defaults(width=256, height=256, steps=4, guidance=None),
    aliases=("mini-schnell",),
)
FLUX_MINI_TEACHER = replace(
    FLUX_MINI,
    id="flux-mini-teacher",
    title="what flux-mini was distilled from: true CFG, two evaluations a step; not shipped",
    transformer=replace(_MINI_TRANSFORMER, guidance_embed=False),
    defaults=Defaults(width=256, height=256, steps=28, guidance=None, true_cfg=3.5),
    weights="local",
    aliases=(),
)
FLUX_MINI_SCENES = replace(
    FLUX_MINI_TEACHER,
    id="flux-mini-scenes",
    title="flux-mini's next world, 23 M: people, places and light; a recipe, not trained yet",
    transformer=TransformerConfig(
        in_channels=128,
        out_channels=128,
        vec_in_dim=384,
        context_in_dim=384,
        hidden_size=384,
        num_heads=6,
        depth=2,
        depth_single_blocks=5,
        axes_dim=(8, 28, 28),
        guidance_embed=False,
    ),
    autoencoder=AutoencoderConfig(
        channels=16,
        channel_mult=(1, 2, 4, 8, 8),
        res_blocks=1,
        latent_channels=32,
        norm_groups=8,
    ),
)
TINY = Variant(
    id="tiny",
    title="random weights of all the right shapes, for tests",
    transformer=TransformerConfig(
        vec_in_dim=32,
        context_in_dim=32,
        hidden_size=64,
        num_heads=4,
        depth=1,
        depth_single_blocks=1,
        axes_dim=(4, 6, 6),
    ),
    autoencoder=AutoencoderConfig(
        channels=8, channel_mult=(1, 1, 2, 2), res_blocks=1, norm_groups=4
    ),
    text=Text(32, bert=BertConfig(hidden_size=32, intermediate_size=64, num_layers=1, num_heads=2)),
    defaults=Defaults(width=64, height=64, steps=4, guidance=3.5),
    licence=APACHE,
    weights="random",
)

VARIANTS: tuple[Variant, ...] = (
    FLUX_MINI,
    FLUX_MINI_SCHNELL,
    FLUX_MINI_TEACHER,
    FLUX_MINI_SCENES,
    FLUX_DEV,
    FLUX_KREA,
    FLUX_SCHNELL,
    TINY,
)
DEFAULT = FLUX_MINI


def find(name: str) -> Variant:
    """The variant of this id or alias, in any case (UnknownModelError names the nearest one)."""
    table = {key.lower(): variant for variant in VARIANTS for key in (variant.id, *variant.aliases)}
    if name.lower() in table:
        return table[name.lower()]
    known = ", ".join(variant.id for variant in VARIANTS)
    raise UnknownModelError(
        f"model: no model and no folder {name!r}{nearest(name.lower(), table)}; known: {known}"
    )
