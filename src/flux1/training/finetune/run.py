"""Teach a model pictures of one's own: a LoRA beside it, or all of its weights.

    pictures and captions -> encoded -> the loop -> lora.safetensors, or a folder that loads

In the run's folder, the same call goes on where it was.
"""

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from rich.console import Console

from flux1.errors import DataError
from flux1.model.transformer import Transformer
from flux1.pipeline.loaded import Loaded
from flux1.pipeline.memory import give_back
from flux1.request import make_request
from flux1.training.checkpoint import FILE as CHECKPOINT
from flux1.training.checkpoint import put_beside
from flux1.training.distributed import World, divide
from flux1.training.finetune.base_networks import BaseNetworks
from flux1.training.finetune.cache import Cache, RememberedText
from flux1.training.finetune.captioned import CaptionedObjective
from flux1.training.finetune.choose import check_options
from flux1.training.finetune.encoded import EncodedPicture, EncodedPictures
from flux1.training.finetune.folder import LORA_FILE, NUMBERED_LORA, RunFolder
from flux1.training.finetune.held_out import HeldOut, divided
from flux1.training.finetune.prepare import Preparation
from flux1.training.finetune.remarks import Remarks
from flux1.training.finetune.result import about_run, save_learnt
from flux1.training.finetune.settings import SAVE_EVERY, FinetuneSettings, Pictures, RunOptions
from flux1.training.loop import LoopSettings, Ran, run, shown
from flux1.training.lora import LoraNetwork
from flux1.training.transformer import recompute_blocks
from flux1.weights.model_files import Source, verify

PATIENCE = 10  # steps in a row without a finite gradient


@dataclass(frozen=True)
class Finetune:
    """A run in its folder `out`; `cache` may be shared with other runs."""

    source: Source
    pictures: Pictures
    settings: FinetuneSettings
    options: RunOptions
    out: Path
    cache: Path
    console: Console
    device: torch.device
    world: World
    remarks: Remarks = field(default_factory=Remarks)

    def run(self, stop_at: Callable[[], bool] = lambda: False) -> Path | None:
        """Learn; the path of the LoRA's file or of the model's folder, None if it was stopped
        before its end. What is wrong with pictures is said before and after.

        DataError, OutputError, DependencyError, WeightsError: one line each.
        """
        check_options(self.options)
        variant = self.source.variant
        if self.source.files is not None and self.source.files.computed:
            base = self.source.files.networks["transformer"].path.parent
            raise DataError(
                f"model: {variant.id} is a LoRA for few steps beside another model: train on that "
                f"one, {base}; what it learns works with both"
            )
        for prompt in self.options.prompts:
            make_request(variant, prompt)  # what is wrong with one is said now
        self._folder.check()
        parts = BaseNetworks(self.source, self.settings, self.device)
        parts.check()
        verify(self.source)
        cache = Cache(self.cache, f"{self.source.model_hash} {self.settings.precision}")
        encoded = self.world.share(self._prepared(parts, cache) if self.world.first else ())
        try:
            return self._learnt(parts, cache, encoded, stop_at)
        finally:
            self._say(*self.remarks)

    def _prepared(self, parts: BaseNetworks, cache: Cache) -> tuple[EncodedPicture, ...]:
        preparation = Preparation(self.pictures, parts, cache, self.remarks, self.console)
        encoded = preparation.encoded(self.options.prompts)
        self._say(*self._folder.claim(_digest(encoded)))
        names, sizes = {one.name for one in encoded}, {one.grid for one in encoded}
        self._say(f"{len(names)} pictures, {len(sizes)} sizes", *self.remarks)
        return encoded

    def _learnt(
        self,
        parts: BaseNetworks,
        cache: Cache,
        encoded: tuple[EncodedPicture, ...],
        stop_at: Callable[[], bool],
    ) -> Path | None:
        settings, options, world = self.settings, self.options, self.world
        draws = bool(options.prompts)
        autoencoder = parts.autoencoder() if draws else parts.autoencoder_shape()
        transformer = parts.transformer()
        learner = self._learner(parts, transformer)
        networks = Loaded(
            self.source.variant,
            transformer,
            autoencoder,
            RememberedText(cache),
            self.source.model_hash,
        )
        learnt, held = divided(encoded, settings.held_out)
        pictures = EncodedPictures(
            learnt, settings.batch_size, settings.seed, settings.caption_dropout, world
        )
        objective = CaptionedObjective(
            learner,
            networks,
            pictures,
            settings.guidance,
            options.prompts,
            self.remarks,
        )

        def save(step: int) -> Path:
            return save_learnt(learner, transformer, self.out, parts, options, step, world)

        about = about_run(self.source, settings) | {
            "transformer": asdict(self.source.variant.transformer)
        }
        ran = run(
            objective,
            self._loop(),
            self.out,
            self.console,
            stop_at,
            options.loggers,
            about,
            world,
            self._at_checkpoint(save),
            HeldOut(objective, held, settings.precision).figures,
        )
        self._remark(ran)
        if ran.done < settings.steps:
            self._say(*self._stopped(ran.done))
            return None
        with shown(learner, ran.ema):
            return save(ran.done)

    def _remark(self, ran: Ran) -> None:
        for step in ran.left_out:
            self.remarks.add("steps without a finite gradient, which changed nothing", str(step))

    def _learner(self, parts: BaseNetworks, transformer: Transformer) -> LoraNetwork | Transformer:
        """Return what learns: a LoRA's branches or the transformer, divided among the processes."""
        lora = self.settings.method == "lora"
        learner = parts.lora(transformer) if lora else transformer.train().requires_grad_(True)
        if self.options.recompute:
            recompute_blocks(transformer)
        divide(transformer, self.world)
        give_back()
        return learner

    def _at_checkpoint(self, save: Callable[[int], Path]) -> Callable[[int], None]:
        """At each checkpoint a LoRA is written too, and kept where the checkpoint is. All weights
        are not: they are large, and `flux1 convert` takes them out of a checkpoint."""

        def saved(step: int) -> None:
            save(step)
            if self.world.first and self._save_every and step % self._save_every == 0:
                put_beside(self.out / LORA_FILE, self.out / NUMBERED_LORA.format(step))

        return saved if self.settings.method == "lora" else lambda step: None

    def _stopped(self, done: int) -> tuple[str, str]:
        kept = {
            "lora": f"{self.out / LORA_FILE} is what they taught",
            "full": f"flux1 convert {self.out / CHECKPOINT} FOLDER --to diffusers writes what they "
            "taught",
        }
        again = "" if self.options.from_step is None else " without --from-step"
        return (
            f"stopped after {done} of {self.settings.steps} steps; the same{again} goes on there",
            kept[self.settings.method],
        )

    @property
    def _folder(self) -> RunFolder:
        model_hash, options = self.source.model_hash, self.options
        return RunFolder(self.out, model_hash, self.settings, options.from_step)

    @property
    def _save_every(self) -> int:
        return self.options.save_every or SAVE_EVERY[self.settings.method]

    def _loop(self) -> LoopSettings:
        settings, options = self.settings, self.options
        return LoopSettings(
            steps=settings.steps,
            batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            matrix_learning_rate=settings.learning_rate,
            warmup_steps=settings.warmup_steps,
            decay_fraction=0.0,  # so that more steps may be asked for later
            weight_decay=settings.weight_decay,
            optimizer=settings.optimizer,
            ema_decay=settings.ema_decay,
            seed=settings.seed,
            checkpoint_every=options.checkpoint_every,
            keep_every=self._save_every,
            preview_every=options.preview_every,
            log_every=options.log_every,
            precision=settings.precision,
            patience=PATIENCE,
        )

    def _say(self, *lines: str) -> None:
        if self.world.first:
            for line in lines:
                self.console.print(line, markup=False, highlight=False, soft_wrap=True)


def _digest(encoded: tuple[EncodedPicture, ...]) -> str:
    """A hash of all that is learnt from."""
    learnt = [f"{one.name}\n{one.caption}\n{one.latents.name}" for one in encoded]
    told = "\n".join(sorted(learnt)).encode(errors="surrogateescape")  # as files may be named
    return hashlib.sha256(told).hexdigest()[:16]
