"""The air of a setting: the colours of its sky, and how it lights and hazes whatever is drawn."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from flux1.training.mini.world.places.colours import Rgb, choose, grey, mix, rgb, varied
from flux1.training.mini.world.places.lights import LIGHTS, LightRow
from flux1.training.mini.world.places.setting import Lighting
from flux1.training.mini.world.places.weathers import WEATHERS, WeatherRow


@dataclass(frozen=True)
class Air:
    """Light and weather of one setting. `sky` runs from the zenith to the horizon, `haze` is what
    distance fades to, `sun_x` is where the sun or the moon stands, as a fraction of the width."""

    light: LightRow
    weather: WeatherRow
    sky: tuple[Rgb, ...]
    tint: Rgb
    haze: Rgb
    glow: Rgb
    sun_x: float

    @property
    def hidden(self) -> bool:
        """True if clouds hide the sun, the moon and the stars."""
        return self.weather.overcast > 0.3

    def lit(
        self, colour: Float[np.ndarray, "*n 3"], distance: float = 0.0
    ) -> Float[np.ndarray, "*n 3"]:
        """A surface's colour in this light, `distance` (0 near, 1 far) away in this air."""
        fade = min(1.0, distance * (1 + self.weather.haze) + 0.6 * self.weather.haze * distance)
        return mix(colour * self.tint, self.haze, fade)

    def white(self, colour: Rgb, share: float = 1.0) -> Rgb:
        """The colour under fallen snow, if it snows."""
        return mix(colour, rgb("#eef3fa"), self.weather.whitens * share)

    @property
    def dark(self) -> bool:
        """True if lamps are lit."""
        return self.light.lamps or self.weather.name == "storm"

    @property
    def light_of_town(self) -> Rgb:
        """The glow of a town's lamps on the lower sky: amber, or neon's own colour."""
        return self.glow if self.light.name == "neon" else rgb("#e09a58")

    def lighting(self) -> Lighting:
        """The light on things."""
        dim = _dimmed(self.light, self.weather)
        level, tint = self.light.ambient * dim, rgb(self.light.things) * np.float32(0.4 + 0.6 * dim)
        soft = 0.35 if self.hidden else 1.0
        side = "left" if self.sun_x < 0.4 else "right" if self.sun_x > 0.6 else "above"
        shade = mix(self.tint * rgb("#1c2238"), rgb("#05060c"), 0.4)
        return Lighting(
            _three(tint), level, side, 0.45 * soft, _three(shade), _three(rgb(self.light.glow))
        )


def _three(colour: Rgb) -> tuple[float, float, float]:
    return float(colour[0]), float(colour[1]), float(colour[2])


def _dimmed(light: LightRow, weather: WeatherRow) -> float:
    """Return what the weather leaves of the light; a dark hour has less light to lose."""
    return float(weather.dim ** max(0.35, light.ambient))


def make_air(rng: np.random.Generator, light: str, weather: str) -> Air:
    """The air of a light and a weather, its sky chosen and varied by `rng`."""
    lit, wet = LIGHTS[light], WEATHERS[weather]
    dim = np.float32(_dimmed(lit, wet))
    clear = [varied(rng, rgb(code), 0.03) for code in choose(rng, lit.skies)]
    cloud = [mix(grey(c), rgb("#5d6f88") * grey(c) * 1.9, 0.5) * dim + 0.045 for c in clear]
    pale = mix(cloud[0], cloud[-1], 0.6)
    sky = tuple(
        np.clip(mix(c, mix(g, pale, 0.4), wet.overcast), 0, 1)
        for c, g in zip(clear, cloud, strict=True)
    )
    if wet.name == "fog":
        veil = rgb("#dfe4ea") * rgb(lit.things) * np.float32(min(1.0, 0.45 + lit.ambient))
        sky = tuple(mix(c, veil, 0.55) for c in sky)
    tint = rgb(lit.surfaces) * dim
    tint = mix(tint, grey(tint), 0.5 * wet.overcast)
    sun_x = rng.uniform(0.12, 0.88)
    return Air(lit, wet, sky, tint, mix(sky[-1], sky[1], 0.15), rgb(lit.glow), float(sun_x))
