"""The sampler by hand: what `FluxPipeline` does for one picture, with every part in view.

    python examples/sample_by_hand.py castle.png

It draws the picture of `pipe("a castle on a pink background", seed=1, steps=8)`.
"""

import sys

import torch

from flux1 import FluxPipeline
from flux1.flow.noise import initial_noise
from flux1.flow.schedule import sampling_times, shift_mu
from flux1.flow.solvers import SOLVERS
from flux1.model.patches import image_ids, pack, text_ids
from flux1.pipeline.decode import decode


@torch.no_grad()
def sample(pipe, prompt, seed, steps=8, rows=8, columns=8, guidance=3.5, solver="euler"):
    """The picture of a seed, of rows x columns tokens."""
    channels = pipe.variant.autoencoder.latent_channels
    noise = pack(initial_noise(seed, channels, 2 * rows, 2 * columns))  # one token a 2x2 patch
    times = sampling_times(steps, shift_mu(rows * columns))  # from 1, noise, to 0, the image
    text = pipe.encode(prompt)
    fixed = {
        "img_ids": image_ids(rows, columns)[None],
        "txt_ids": text_ids(len(text.txt))[None],
        "txt": text.txt[None],
        "pooled": text.pooled[None],
        "guidance": torch.tensor([guidance]),
    }

    points = SOLVERS[solver].run(noise, times)  # a generator: it yields a point (x, t) ...
    x, t = next(points)
    while True:
        velocity = pipe.transformer(img=x, t=torch.tensor([t]), **fixed)
        try:
            x, t = points.send(velocity)  # ... and receives the velocity there
        except StopIteration as finished:
            return decode(finished.value[0], rows, columns, pipe.autoencoder)


if __name__ == "__main__":
    pipe = FluxPipeline.from_pretrained("flux-mini")
    sample(pipe, "a castle on a pink background", seed=1).save(sys.argv[1])
