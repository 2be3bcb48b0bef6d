"""LoRA files of every dialect: read, beside the layers, merged, against diffusers and by hand."""

import random
from functools import cache

import pytest
import torch
from diffusers import FluxPipeline as DiffusersPipeline
from peft import LoHaConfig, LoKrConfig, LoraConfig, get_peft_model
from safetensors.torch import save_file

from flux1.errors import Flux1Error, MissingWeightsError, WeightsError
from flux1.model.config import TransformerConfig
from flux1.model.lora import Lora, active_adapters
from flux1.model.patches import image_ids, text_ids
from flux1.model.transformer import Transformer
from flux1.weights.kinds.transformer import TRANSFORMER, transformer_config
from flux1.weights.lora.names import algorithms_of, dialect_of, ranks_of, role_of
from flux1.weights.lora.read import merge_lora, read_lora
from lora_files import DIALECT, KINDS, Made, make_lora
from synthetic import transformer_model

CPU = torch.device("cpu")


@cache
def weights() -> tuple[TransformerConfig, dict[str, torch.Tensor]]:
    theirs = transformer_model()
    config = transformer_config(dict(theirs.config))
    return config, dict(TRANSFORMER.ours(theirs.state_dict(), "diffusers", config))


def network(state=None, **changes) -> Transformer:
    config, own = weights()
    state = own if state is None else state
    ours = Transformer(TransformerConfig(**{**vars(config), **changes})).requires_grad_(False)
    ours.load_state_dict(state)
    return ours


def draw(ours, channels=None, rows=2):
    config, _ = weights()
    g = torch.Generator().manual_seed(5)
    return ours(
        img=torch.randn(rows, 12, channels or config.in_channels, generator=g),
        img_ids=image_ids(3, 4).expand(rows, -1, -1),
        txt=torch.randn(rows, 5, config.context_in_dim, generator=g),
        txt_ids=text_ids(5).expand(rows, -1, -1),
        t=torch.linspace(1, 0.3, rows),
        pooled=torch.randn(rows, config.vec_in_dim, generator=g),
        guidance=torch.full((rows,), 3.5),
    )


def write(made: Made, path):
    save_file(
        {name: t.contiguous() for name, t in made.tensors.items()}, path, made.metadata or None
    )
    return path


def files(kind: str, seed: int, tmp_path):
    config, state = weights()
    made = make_lora(kind, config, state, seed)
    return made, read_lora(write(made, tmp_path / f"{kind}.safetensors"), config)


def beside(ours, lora, scale=1.0, rows=2, **inputs):
    attached = Lora(ours, lora.deltas, CPU, torch.float32)
    try:
        with active_adapters([[(attached, scale)]] * rows):
            return draw(ours, rows=rows, **inputs)
    finally:
        attached.detach()


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_beside_equals_merged_equals_the_definition(kind, seed, tmp_path):
    made, lora = files(kind, seed, tmp_path)
    assert lora.dialect == DIALECT[kind]
    assert lora.unused == ()
    ours, channels = network(), 32 if kind.endswith("_control") else 16
    scale = 1.0 if seed == 0 else 0.7
    plain = draw(ours)
    by_hand = draw(network(made.on(weights()[1], scale), in_channels=channels), channels)
    merged = dict(merge_lora(weights()[1], lora, scale))
    assert (beside(ours, lora, scale, channels=channels) - by_hand).abs().max() < 1e-5
    assert (draw(network(merged, in_channels=channels), channels) - by_hand).abs().max() < 1e-5
    assert channels != 16 or (by_hand - plain).abs().max() > 1e-2
    assert torch.equal(draw(ours), plain)


@pytest.mark.parametrize(
    "kind",
    [
        "diffusers",
        "diffusers_with_alpha",
        "diffusers_control",
        "ai_toolkit",
        "kohya_split",
        "xlabs",
    ],
)
def test_diffusers_draws_the_same_with_the_same_file(kind, tmp_path):
    _, lora = files(kind, 3, tmp_path)
    channels = 32 if kind.endswith("_control") else None
    expected = theirs_with(tmp_path / f"{kind}.safetensors", channels=channels)
    assert (beside(network(), lora, channels=channels) - expected).abs().max() < 1e-5


def theirs_with(path, channels=None):
    transformer = transformer_model()
    pipeline = DiffusersPipeline(
        scheduler=None, vae=None, text_encoder=None, tokenizer=None, text_encoder_2=None,
        tokenizer_2=None, transformer=transformer,
    )  # fmt: skip
    pipeline.load_lora_weights(str(path))
    return drawn_by_theirs(transformer, channels)


@torch.no_grad()
def drawn_by_theirs(transformer, channels=None):
    def call(img, img_ids, txt, txt_ids, t, pooled, guidance):
        return transformer(
            hidden_states=img, encoder_hidden_states=txt, pooled_projections=pooled, timestep=t,
            img_ids=img_ids[0], txt_ids=txt_ids[0], guidance=guidance,
        ).sample  # fmt: skip

    return draw(call, channels)


def changed_by_peft(settings, folder):
    """A PEFT adapter with random numbers in it, saved by PEFT; what it makes the network draw."""
    adapted = get_peft_model(transformer_model(), settings)
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_magnitude" in name:
                parameter.mul_(1 + 0.2 * torch.rand(parameter.shape, generator=g))
            elif "lora_" in name or "lokr_" in name or "hada_" in name:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=g))
    adapted.save_pretrained(folder)
    return drawn_by_theirs(adapted.eval())


TARGETS = ["to_q", "add_k_proj", "proj_mlp", "proj_out", "net.2", "norm_out.linear", "linear_1"]
FRESH = {"target_modules": TARGETS}


@pytest.mark.parametrize(
    "settings",
    [
        LoraConfig(r=3, lora_alpha=7, **FRESH),
        LoraConfig(r=4, lora_alpha=6, use_rslora=True, lora_bias=True, **FRESH),
        LoraConfig(r=2, lora_alpha=5, rank_pattern={"to_q": 4}, alpha_pattern={"to_q": 3}, **FRESH),
        LoraConfig(r=3, lora_alpha=4, use_dora=True, **FRESH),
        LoKrConfig(r=2, alpha=5, decompose_both=True, target_modules=TARGETS),
        LoKrConfig(r=64, alpha=32, target_modules=TARGETS),
        LoHaConfig(r=3, alpha=5, target_modules=TARGETS),
    ],
    ids=["alpha", "rslora and bias", "patterns", "dora", "lokr", "lokr of whole factors", "loha"],
)
def test_what_peft_saves_draws_what_peft_draws(settings, tmp_path):
    expected = changed_by_peft(settings, tmp_path)
    config, state = weights()
    lora = read_lora(tmp_path, config)
    assert lora.unused == ()
    assert (expected - draw(network())).abs().max() > 1e-2
    assert (beside(network(), lora) - expected).abs().max() < 1e-5
    assert (draw(network(dict(merge_lora(state, lora)))) - expected).abs().max() < 1e-5


def test_several_at_once_are_the_sum_and_leave_without_a_trace(tmp_path):
    _, state = weights()
    loras = [files(kind, 4, tmp_path)[1] for kind in ("dora", "kohya", "lokr", "comfyui")]
    ours = network()
    modules = dict(ours.named_modules())
    plain = draw(ours)
    # a DoRA depends on the weights that it stands beside, so each is merged into the model's own
    total = {name: tensor.clone() for name, tensor in state.items()}
    for lora, scale in zip(loras, (0.5, 1.0, -0.3, 0.8), strict=True):
        for name, tensor in merge_lora(state, lora, scale).items():
            total[name] += tensor - state[name]
    attached = [Lora(ours, lora.deltas, CPU, torch.float32) for lora in loras]
    with active_adapters([list(zip(attached, (0.5, 1.0, -0.3, 0.8), strict=True))] * 2):
        assert (draw(ours) - draw(network(total))).abs().max() < 1e-5
    assert torch.equal(draw(ours), plain)
    assert all(torch.equal(ours.state_dict()[name], own) for name, own in state.items())
    for one in attached:
        one.detach()
    assert torch.equal(draw(ours), plain)
    assert {name: id(m) for name, m in ours.named_modules()} == {
        n: id(m) for n, m in modules.items()
    }
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in ours.modules())
    assert not any("beside" in vars(m) for m in ours.modules())


def test_rows_of_one_call_may_take_different_loras(tmp_path):
    kinds = ["kohya", "dora", "bfl_control", "loha"]
    loras = [files(kind, 6, tmp_path)[1] for kind in kinds]
    ours = network()
    first, second, third, fourth = (Lora(ours, one.deltas, CPU, torch.float32) for one in loras)
    wanted = [[(first, 1.0), (second, 0.5)], [], [(second, 1.5), (fourth, 1.0)], [(third, 0.8)],
              [(first, 0.3), (third, 1.0)]]  # fmt: skip
    with active_adapters(wanted):
        together = draw(ours, rows=5)
    for i, row in enumerate(wanted):
        with active_adapters([row] * 5):
            alone = draw(ours, rows=5)
        assert (together[i] - alone[i]).abs().max() < 1e-5
    assert (together[1] - draw(ours, rows=5)[1]).abs().max() == 0


class EightBits(torch.nn.Module):
    """A layer whose weights are bytes: what stands beside it never needs them."""

    def __init__(self, layer):
        super().__init__()
        self.in_features = layer.in_features
        self.step = layer.weight.abs().amax(1, keepdim=True) / 127
        self.register_buffer("weight", (layer.weight / self.step).round().to(torch.int8))
        self.bias = layer.bias

    def forward(self, x):
        return torch.nn.functional.linear(x, self.weight * self.step, self.bias)


@pytest.mark.parametrize("kind", ["kohya", "lokr", "loha", "comfyui", "diffusers"])
def test_on_quantised_layers(kind, tmp_path):
    _, lora = files(kind, 7, tmp_path)
    ours, state = network(), dict(weights()[1])
    for name, layer in list(ours.named_modules()):
        if isinstance(layer, torch.nn.Linear):
            small = EightBits(layer)
            state[f"{name}.weight"] = small.weight * small.step
            parent, _, attribute = name.rpartition(".")
            setattr(ours.get_submodule(parent), attribute, small)
    expected = draw(network(dict(merge_lora(state, lora))))
    assert (beside(ours, lora) - expected).abs().max() < 1e-5


def test_a_dora_on_quantised_layers_is_refused_and_leaves_nothing(tmp_path):
    _, lora = files("dora", 7, tmp_path)
    ours = network()
    ours.single_blocks[2].linear2 = EightBits(ours.single_blocks[2].linear2)
    with pytest.raises(Flux1Error, match="a DoRA needs the layers' weights"):
        Lora(ours, lora.deltas, CPU, torch.float32)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in ours.modules())


def the_line(made: Made, tmp_path) -> str:
    path = write(made, tmp_path / "x.safetensors")
    with pytest.raises(WeightsError) as caught:
        read_lora(path, weights()[0])
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(f"{path}: ")
    return line.removeprefix(f"{path}: ")


def factors(name, rows=32, inputs=32, rank=2, suffix=("lora_down", "lora_up")):
    down, up = (f"{name}.{part}.weight" for part in suffix)
    return {down: torch.ones(rank, inputs), up: torch.ones(rows, rank)}


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({}, "not a LoRA: it holds no tensors"),
        ({"img_in.weight": torch.ones(32, 16)}, "not a LoRA: img_in.weight"),
        (factors("lora_unet_input_blocks_4_1_proj_in"), "for Stable Diffusion 1, 2 or XL, not"),
        (factors("lora_te2_text_model_encoder_layers_0_mlp_fc1"), "for Stable Diffusion XL"),
        (factors("lora_unet_joint_blocks_0_x_block_attn_qkv"), "for Stable Diffusion 3"),
        (factors("transformer.transformer_blocks.0.img_mlp.net.2"), "for Qwen-Image"),
        (factors("diffusion_model.double_stream_modulation_img.lin"), "for FLUX.2"),
        (factors("base_model.model.model.layers.0.self_attn.q_proj"), "for a language model"),
        (factors("transformer.transformer_blocks.0.attn.to_q", 48, 48),
         "(2, 48) does not fit, double_blocks.0.img_attn.qkv of this model has 32 x 32"),
        (factors("lora_unet_double_blocks_2_img_attn_proj"), "this model has 2 double blocks"),
        (factors("lora_unet_single_blocks_37_linear2", 32, 160), "this model has 3 single blocks"),
        (factors("something_else"), "would change nothing: no key of it is known: something_else"),
        (factors("lora_te1_text_model_encoder_layers_0_mlp_fc1"), "changes text encoders only"),
        ({**factors("lora_unet_img_in", 32, 16), "lora_unet_img_in.alpha": torch.tensor(0.0)},
         "would change nothing: all its numbers are zero"),
        ({name: 0 * t for name, t in factors("transformer.proj_out", 16).items()}, "are zero"),
        ({"lora_unet_img_in.lora_down.weight": torch.ones(2, 16)}, "a factor is missing"),
        (factors("lora_unet_img_in", 32, 16) | {"lora_unet_img_in.lora_up.weight":
         torch.full((32, 2), float("nan"))}, "not finite"),
        (factors("lora_unet_img_in", 32, 16) | {"lora_unet_img_in.lora_up.weight":
         torch.ones(32, 3)}, "rank 2, its other half has 3"),
        ({"lycoris_proj_out.lokr_w1": torch.ones(4, 4), "lycoris_proj_out.lokr_w2":
         torch.ones(3, 8)}, "its factors make 12 x 32"),
        ({"transformer.proj_out.lora_magnitude_vector": torch.ones(16),
          "transformer.proj_out.diff_b": torch.ones(16)}, "a magnitude without its change"),
        (factors("a_" * 200 + "x"), "would change nothing: no key of it is known"),  # at once
        (factors("model." * 2000 + "x"), "would change nothing: no key of it is known"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_line(tensors, words, tmp_path):
    assert words in the_line(Made(tensors), tmp_path)


def test_no_file_and_no_weights(tmp_path):
    with pytest.raises(MissingWeightsError, match="missing"):
        read_lora(tmp_path / "x.safetensors", weights()[0])
    (tmp_path / "x.safetensors").write_bytes(b"PK rubbish")
    with pytest.raises(WeightsError, match="not a safetensors file"):
        read_lora(tmp_path / "x.safetensors", weights()[0])


def test_keys_that_are_not_used_are_told(tmp_path):
    tensors = factors("lora_unet_img_in", 32, 16) | factors("lora_te1_text_model_encoder_layers_0")
    made = Made(tensors | {"bundle_emb.cat.clip_l": torch.ones(1, 8)})
    lora = read_lora(write(made, tmp_path / "x.safetensors"), weights()[0])
    assert str(lora).endswith(
        "kohya LoRA, rank 2, 1 modules touched, 2 keys for text encoders not used "
        "(prompts are read without them), 1 keys not used: bundle_emb.cat.clip_l"
    )


def test_a_layer_that_a_file_holds_twice_counts_once(tmp_path):
    twice = factors("transformer.x_embedder", 32, 16) | factors(
        "lora_transformer_x_embedder", 32, 16
    )
    lora = read_lora(write(Made(twice), tmp_path / "x.safetensors"), weights()[0])
    assert [len(deltas) for deltas in lora.deltas.values()] == [1]
    assert all(name.startswith("lora_transformer_") for name in lora.unused)


def test_rows_that_a_file_holds_twice_count_once(tmp_path):
    """A fused layer, and one of its parts in another spelling."""
    width = weights()[0].hidden_size
    fused = factors("lora_unet_double_blocks_0_img_attn_qkv", 3 * width, width)
    part = factors("transformer.transformer_blocks.0.attn.to_q", width, width,
                   suffix=("lora_A", "lora_B"))  # fmt: skip
    file = write(Made({**fused, **part}), tmp_path / "twice.safetensors")
    lora = read_lora(file, weights()[0])
    assert len(lora.deltas["double_blocks.0.img_attn.qkv"]) == 1
    assert len(lora.unused) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_recognised_by_names_alone(kind):
    made = make_lora(kind, *weights())
    assert dialect_of(list(made.tensors), made.metadata) == DIALECT[kind]
    assert algorithms_of(list(made.tensors))
    shapes = {name: tuple(tensor.shape) for name, tensor in made.tensors.items()}
    assert ranks_of(shapes) == {"kohya": [4], "kohya_split": [6], "loha": [2], "lokr": [2],
                                "lokr_fused": [2]}.get(kind, [3])  # fmt: skip


def test_other_files_are_no_lora():
    assert dialect_of(list(weights()[1])) is None
    assert dialect_of(["lora_unet_input_blocks_4_1_proj_in.lora_down.weight"]) is None


PARTS = (
    "lora_unet_", "lora_transformer_", "transformer.", "diffusion_model.", "base_model.model.", "",
    "lycoris_", "double_blocks.0.img_attn.qkv", "double_blocks_0_img_attn_proj", "img_in",
    "transformer_blocks.0.attn.to_q", "single_transformer_blocks_0_proj_out", "norm_out.linear",
    "single_blocks.0.linear1", "double_blocks.99999999.img_mod.lin", "transformer_blocks.-1.x",
    "double_blocks.0.processor.qkv_lora1", "double_blocks.0.img_attn.norm.query_norm",
    "ü\u0000\x1b[2J\n",
    ".lora_A.weight", ".lora_B.weight", ".lora_B.bias", ".lora_down.weight", ".lora_up.weight",
    ".alpha", ".dora_scale", ".lokr_w1", ".lokr_w1_a", ".lokr_w1_b", ".lokr_w2", ".hada_w1_a",
    ".hada_w1_b", ".hada_w2_a", ".hada_w2_b", ".diff", ".diff_b", ".set_weight", ".scale",
    ".reshape_weight", ".down.weight", ".up.weight", "....", "x" * 300,
)  # fmt: skip
SHAPES = [(), (0,), (1,), (2,), (32,), (96,), (2, 32), (32, 2), (96, 2), (2, 16), (1, 32), (32, 1),
          (4, 4), (8, 8), (32, 32), (2, 32, 1, 1), (1, 1, 1), (0, 32), (32, 0)]  # fmt: skip
DTYPES = [torch.float32] * 6 + [torch.bfloat16, torch.float16, torch.int64, torch.bool,
          torch.float8_e4m3fn, torch.float64]  # fmt: skip
METADATA = ["{", "[]", "null", '{"transformer.r": "x"}', '{"r": 0, "lora_alpha": 1e308}',
            '{"alpha_pattern": {"(": 1}, "lora_alpha": true}', "[" * 9999, '{"": {}}']  # fmt: skip


def broken(rng: random.Random, made: Made) -> Made:
    """A few layers of a good file, with names, shapes, numbers and metadata changed at random."""
    layers = sorted({role_of(name)[0] for name in made.tensors})
    some = rng.sample(layers, min(len(layers), rng.randint(0, 4)))
    tensors = {name: t for name, t in made.tensors.items() if role_of(name)[0] in some}
    for _ in range(rng.randint(0, 3)):
        name = rng.choice([*tensors, ""])
        tensor = tensors.pop(name, torch.ones(rng.choice(SHAPES)))
        match rng.randrange(6):
            case 0:
                name = "".join(rng.choices(PARTS, k=rng.randint(1, 4)))
            case 1:
                tensor = torch.ones(rng.choice(SHAPES)).to(rng.choice(DTYPES))
            case 2:
                tensor = tensor.float() * rng.choice([0.0, float("nan"), float("inf"), 1e30])
            case 3:
                name = name.replace(rng.choice(PARTS) or ".", rng.choice(PARTS))
            case 4:
                name = name[: rng.randint(0, len(name))] + rng.choice(PARTS)
            case 5:
                continue
        tensors[name or "x"] = tensor
    metadata = {"lora_adapter_metadata": rng.choice(METADATA)} if rng.random() < 0.1 else {}
    return Made(tensors, metadata)


@pytest.mark.slow
def test_thousands_of_broken_files_are_read_or_refused_in_one_line(tmp_path):
    config, state = weights()
    good = [make_lora(kind, config, state) for kind in KINDS]
    rng, ours, path = random.Random(0), network(), tmp_path / "x.safetensors"
    read, lines = 0, []
    for _ in range(2000):
        write(broken(rng, rng.choice(good)), path)
        try:
            lora = read_lora(path, config)
        except WeightsError as failure:
            lines.append(str(failure))
            continue
        read += 1
        lines.append(str(lora))
        Lora(ours, lora.deltas, CPU, torch.float32).detach()
    assert all(line.isprintable() for line in lines)
    assert 400 < read < 3600
