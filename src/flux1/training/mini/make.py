"""Carry a recipe out.

    sprites -> autoencoder -> sentence encoder -> (encoded scenes -> transformer) per phase
            -> told the guidance -> few steps: each a folder that `flux1` loads

A stage whose result lies in the run's folder is not done again, so an interrupted run goes on
where it stopped.
"""

import copy
import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress

from flux1.errors import DataError
from flux1.model.autoencoder import Autoencoder
from flux1.model.config import AutoencoderConfig, BertConfig
from flux1.model.transformer import Transformer
from flux1.pipeline.encode import text_encoder
from flux1.pipeline.loaded import Loaded
from flux1.training.loop import LoopSettings, train
from flux1.training.lora import LoraNetwork, linear_layers
from flux1.training.mini.autoencoder import (
    AutoencoderObjective,
    Crops,
    GrownAutoencoderObjective,
    grown,
    inner_config,
    start_precise,
)
from flux1.training.mini.data import Buckets, EncodedScenes, encode_scenes, latent_statistics
from flux1.training.mini.grounding import GroundingObjective
from flux1.training.mini.guidance_distillation import GuidanceDistillationObjective, student_of
from flux1.training.mini.recipes import (
    GroundingStage,
    GrownStage,
    GuidanceStage,
    Recipe,
    StepStage,
    TransformerPhase,
    sides_of,
)
from flux1.training.mini.rectified_flow import RectifiedFlowObjective
from flux1.training.mini.step_distillation import StepDistillationObjective
from flux1.training.mini.text import fetch_sentence_model
from flux1.training.mini.worlds import Painter, painter
from flux1.training.mini.worlds_of_recipes import WORLDS, OpenWorld
from flux1.training.transformer import initialise
from flux1.variants import Variant, find
from flux1.weights.files.safetensors import read_json, write_json
from flux1.weights.load import Storage, TextPart, TextParts, load_network
from flux1.weights.save import save_bfl, save_lora_model, save_model_folder

# What the LoRA of few steps changes: all that works on the picture, and the time.
FEW_STEP_LAYERS = ("img_in", "time_in", "double_blocks", "single_blocks", "final_layer")


@dataclass(frozen=True)
class Made:
    """The networks of a finished recipe's model, and its last scenes."""

    transformer: Transformer
    autoencoder: Autoencoder
    language: TextPart
    scenes: Buckets


def make(recipe: Recipe, folder: Path, console: Console, device: torch.device) -> Path:
    """Run all stages in `folder`; returns the finished model's folder (loadable by its path)."""
    variant = find(recipe.variant)
    if variant.text.bert is None:
        raise DataError(f"recipe: {recipe.name}: {variant.id} has no sentence encoder to train on")
    _claim(folder, recipe)
    run = Run(recipe, variant, variant.text.bert, folder, console, device)

    guidance, steps = recipe.guidance_distillation, recipe.step_distillation
    trained = variant if guidance is None else find(guidance.teacher)
    made = run.phases(trained)
    if guidance is not None:
        run.save(made, trained)
        made = run.guidance_distilled(made, guidance)
    finished = run.save(made, variant)
    if steps is not None:
        run.few_steps(made, steps)
    return finished


def _claim(folder: Path, recipe: Recipe) -> None:
    """Keep the recipe in the run's folder; DataError if another one began there: its stages would
    be taken for this one's."""
    folder.mkdir(parents=True, exist_ok=True)
    mine = json.loads(json.dumps(dataclasses.asdict(recipe)))
    path = folder / "recipe.json"
    if not path.exists():
        write_json(path, mine)
        return
    theirs = read_json(path)
    changed = [key for key in mine if mine[key] != theirs.get(key)]
    if changed:
        raise DataError(
            f"recipe: {folder} was begun with another {', '.join(changed)} (see {path.name}): "
            "choose another folder with --out, or go on with the recipe as it was"
        )


@dataclass(frozen=True)
class Run:
    """A recipe in its folder, stage by stage."""

    recipe: Recipe
    variant: Variant
    bert: BertConfig
    folder: Path
    console: Console
    device: torch.device

    def phases(self, variant: Variant) -> Made:
        """Everything up to the last phase of the transformer, which is of `variant`'s shape."""
        recipe = self.recipe
        world = self._world()
        language = fetch_sentence_model(self.folder / "text", self.bert)
        language.network.to(self.device)
        languages = {"plain": language}
        if recipe.grounding is not None:
            languages["grounded"] = self._grounded(language, world, recipe.grounding)
        autoencoder = self._autoencoder(world)

        torch.manual_seed(recipe.seed)
        transformer = Transformer(variant.transformer)
        initialise(transformer)
        made = Made(transformer.to(self.device), autoencoder, language, Buckets((), 0))
        for number, phase in enumerate(recipe.transformer, start=1):
            of = f"transformer, phase {number} of {len(recipe.transformer)}"
            seed = recipe.seed + number - 1
            scenes = self._scenes(phase, made.autoencoder, world, seed, number, of)
            made = Made(made.transformer, autoencoder, languages[phase.text], scenes)
            objective = RectifiedFlowObjective(
                self._networks(made, variant),
                scenes,
                recipe.preview_prompts,
                seed,
                phase.caption_dropout,
            )
            self.console.print(of)
            place = self.folder / f"transformer-{number}"
            trained = train(objective, phase.loop, place, self.console)
            made.transformer.load_state_dict(trained.state_dict())
        return made

    def guidance_distilled(self, made: Made, stage: GuidanceStage) -> Made:
        """The transformer taught to be told the scale of its guidance."""
        self.console.print("guidance distillation")
        torch.manual_seed(self.recipe.seed)
        teacher = made.transformer.eval().requires_grad_(False)
        made = dataclasses.replace(made, transformer=student_of(teacher))
        if stage.loop.compile:
            teacher.compile(dynamic=False)
        objective = GuidanceDistillationObjective(
            self._networks(made, self.variant),
            teacher,
            self._batches(made, stage.loop),
            self.recipe.preview_prompts,
            self.recipe.seed,
            stage.scales,
            stage.points,
            stage.caption_dropout,
        )
        place = self.folder / "guidance-distillation"
        return dataclasses.replace(
            made, transformer=train(objective, stage.loop, place, self.console)
        )

    def few_steps(self, made: Made, stage: StepStage) -> None:
        """A LoRA beside the model, in a folder of its own that asks for the model's."""
        self.console.print("step distillation")
        torch.manual_seed(self.recipe.seed)
        student = find(stage.student)
        teacher = made.transformer.at_guidance(stage.guidance).requires_grad_(False)
        made = dataclasses.replace(made, transformer=copy.deepcopy(teacher))
        layers = linear_layers(made.transformer, FEW_STEP_LAYERS)
        lora = LoraNetwork(made.transformer, layers, stage.rank, stage.alpha)
        if stage.loop.compile:
            teacher.compile(dynamic=False)
        objective = StepDistillationObjective(
            lora,
            teacher,
            self._networks(made, student),
            self._batches(made, stage.loop),
            self.recipe.preview_prompts,
            self.recipe.seed,
            stage.steps,
            stage.teacher_steps,
        )
        trained = train(objective, stage.loop, self.folder / "step-distillation", self.console)
        assert isinstance(trained, LoraNetwork)  # as `lora` is
        place, base = self.folder / student.id, self.folder / self.variant.id
        save_lora_model(place, student, base, trained.tensors(), stage.guidance)

    def save(self, made: Made, variant: Variant) -> Path:
        """The model's folder, named as its variant."""
        folder = self.folder / variant.id
        text: TextParts = {"bert": made.language}
        sizes = dict.fromkeys(size for phase in self.recipe.transformer for size in phase.scenes)
        save_model_folder(
            folder,
            variant,
            made.transformer,
            made.autoencoder,
            text,
            words=WORLDS[self.recipe.world].words(),
            sizes=list(sizes),
        )
        return folder

    def _networks(self, made: Made, variant: Variant) -> Loaded:
        text = text_encoder({"bert": made.language}, self.variant.text)
        return Loaded(variant, made.transformer, made.autoencoder, text)

    def _world(self) -> OpenWorld:
        row = WORLDS[self.recipe.world]
        path = self.folder / row.file
        if not path.exists():
            self.console.print("fetching and rendering the drawings")
            row.prepare(path)
        return OpenWorld(row, row.open(path))

    def _grounded(self, language: TextPart, world: OpenWorld, stage: GroundingStage) -> TextPart:
        """A sentence encoder that says where things stand: trained, or the finished one read."""
        self.console.print("sentence encoder")
        finished = self.folder / "grounding" / "text_encoder.safetensors"
        if not finished.exists():
            objective = GroundingObjective(
                copy.deepcopy(language.network),
                language.tokenizer,
                world.lessons,
                stage.loop.batch_size,
                self.recipe.seed,
                self.variant.text.max_tokens,
                stage.code_weight,
            )
            save_bfl(train(objective, stage.loop, finished.parent, self.console), finished)
        bert = load_network(finished, "bert", self.bert).to(self.device)
        return TextPart(bert, language.tokenizer)

    def _autoencoder(self, world: OpenWorld) -> Autoencoder:
        """Trained, or the finished one read; then the latents' shift and scale are measured (where
        it is grown, before: growing keeps them)."""
        recipe, stage, side = self.recipe, self.recipe.autoencoder, self.recipe.picture_size
        raw = dataclasses.replace(self.variant.autoencoder, scale_factor=1.0, shift_factor=0.0)
        if stage.grown is None:
            model = measured = self._first_autoencoder(world, raw, side)
        else:
            side //= 2
            measured = self._first_autoencoder(world, inner_config(raw), side)
            model = self._grown_autoencoder(world, measured, raw, stage.grown)
        shift, scale = latent_statistics(measured, self._painter(world, side), recipe.seed)
        model.config = dataclasses.replace(raw, scale_factor=scale, shift_factor=shift)
        return model

    def _first_autoencoder(
        self, world: OpenWorld, config: AutoencoderConfig, picture_size: int
    ) -> Autoencoder:
        self.console.print(f"autoencoder, {picture_size} pixels")
        stage, seed = self.recipe.autoencoder, self.recipe.seed
        finished = self.folder / "autoencoder" / "autoencoder.safetensors"
        if not finished.exists():
            torch.manual_seed(seed)
            model = Autoencoder(config)
            start_precise(model)
            model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            objective = AutoencoderObjective(
                model,
                Crops(
                    self._painter(world, picture_size),
                    stage.loop.batch_size,
                    seed,
                    stage.crop_size,
                ),
                stage.kl_weight,
                stage.edge_weight,
                stage.equivariance,
                stage.latent_noise,
            )
            save_bfl(train(objective, stage.loop, finished.parent, self.console), finished)
        return load_network(finished, "autoencoder", config, Storage(torch.float32, self.device))

    def _grown_autoencoder(
        self, world: OpenWorld, inner: Autoencoder, config: AutoencoderConfig, grown_by: GrownStage
    ) -> Autoencoder:
        recipe, stage = self.recipe, self.recipe.autoencoder
        self.console.print(f"autoencoder, {recipe.picture_size} pixels")
        finished = self.folder / "autoencoder-grown" / "autoencoder.safetensors"
        if not finished.exists():
            torch.manual_seed(recipe.seed)
            model = grown(inner)
            model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            objective = GrownAutoencoderObjective(
                model,
                inner.requires_grad_(False),
                Crops(
                    self._painter(world, recipe.picture_size),
                    grown_by.loop.batch_size,
                    recipe.seed,
                    2 * stage.crop_size,
                ),
                stage.edge_weight,
                grown_by.latent_noise,
            )
            save_bfl(train(objective, grown_by.loop, finished.parent, self.console), finished)
        return load_network(finished, "autoencoder", config, Storage(torch.float32, self.device))

    def _scenes(
        self,
        phase: TransformerPhase,
        autoencoder: Autoencoder,
        world: OpenWorld,
        seed: int,
        number: int,
        of: str,
    ) -> Buckets:
        """Compose and encode a phase's scenes, each size in a folder of its name, or read them."""
        multiple = self.variant.size_multiple
        parts, shown = [], world.of(phase.mixture)
        for turn, (size, count) in enumerate(phase.scenes.items()):
            (width, height), place = sides_of(size), self.folder / f"scenes-{number}" / size
            if not (place / "latents.safetensors").exists():
                self.console.print(f"{of}: composing and encoding scenes of {size}")
                with Progress(console=self.console) as progress:
                    encode_scenes(
                        place,
                        autoencoder,
                        shown,
                        (width, height),
                        count,
                        seed + 1000 * turn,
                        getattr(torch, phase.loop.precision),
                        progress,
                    )
            parts.append(EncodedScenes.open(place, (height // multiple, width // multiple), shown))
        return Buckets(tuple(parts), self._batch_tokens(phase.loop))

    def _painter(self, world: OpenWorld, side: int) -> Painter:
        return painter(world.of(self.recipe.autoencoder.mixture), (side, side))

    def _batches(self, made: Made, loop: LoopSettings) -> Buckets:
        """The last scenes, in batches of a later stage's size."""
        return Buckets(made.scenes.parts, self._batch_tokens(loop))

    def _batch_tokens(self, loop: LoopSettings) -> int:
        return loop.batch_size * (self.recipe.picture_size // self.variant.size_multiple) ** 2
