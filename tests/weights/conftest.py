import shutil
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from flux1.weights.files.safetensors import write_tensors
from flux1.weights.kinds.autoencoder import autoencoder_config
from flux1.weights.kinds.table import KINDS
from flux1.weights.kinds.transformer import transformer_config
from synthetic import AUTOENCODER, CLIP, T5, make_diffusers_folder, transformer_model
from synthetic import autoencoder_model as autoencoder


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A tiny FLUX.1 with guidance, as diffusers and transformers save it. Not to be changed."""
    return make_diffusers_folder(tmp_path_factory.mktemp("flux"))


@pytest.fixture(scope="session")
def folder_without_guidance(tmp_path_factory):
    return make_diffusers_folder(tmp_path_factory.mktemp("flux-fast"), guidance=False)


@dataclass(frozen=True)
class Originals:
    """FLUX.1's four networks in miniature, built by the libraries that define them."""

    transformer: nn.Module
    autoencoder: nn.Module
    clip: nn.Module
    t5: nn.Module

    def states(self) -> dict[str, dict[str, torch.Tensor]]:
        """The state dicts of the files that people have: BFL's names, and transformers'."""
        shape = transformer_config(dict(self.transformer.config))
        kept = {key: list(v) if isinstance(v, tuple) else v for key, v in AUTOENCODER.items()}
        return {
            "transformer": dict(
                KINDS["transformer"].ours(self.transformer.state_dict(), "diffusers", shape)
            ),
            "autoencoder": dict(
                KINDS["autoencoder"].ours(
                    self.autoencoder.state_dict(), "diffusers", autoencoder_config(kept)
                )
            ),
            "clip": {
                f"text_model.{name.removeprefix('text_model.')}": tensor
                for name, tensor in self.clip.state_dict().items()
            },
            "t5": {
                name: tensor
                for name, tensor in self.t5.state_dict().items()
                if name != "encoder.embed_tokens.weight"
            },
        }


@pytest.fixture(scope="session")
def originals():
    """Widths are multiples of 32, a GGUF block; CLIP's heads are 64 wide, as the real one's."""
    from transformers import CLIPTextConfig, CLIPTextModel, T5EncoderModel
    from transformers import T5Config as HfT5Config

    clip = CLIP | {"hidden_size": 64, "num_attention_heads": 1}
    t5 = T5 | {"d_model": 32, "num_heads": 4, "d_ff": 64}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        found = Originals(
            transformer_model(True, pooled_projection_dim=64, joint_attention_dim=32),
            autoencoder(),
            CLIPTextModel(CLIPTextConfig(**clip)).eval(),
            T5EncoderModel(HfT5Config(**t5)).eval(),
        )
        for network in (found.clip, found.t5):
            for parameter in network.parameters():
                parameter.data.add_(0.1 * torch.randn_like(parameter))
    return found


@pytest.fixture
def beside(tmp_path, folder, originals):
    """A folder with everything but the transformer, as files of their own."""
    states = originals.states()
    write_tensors(tmp_path / "ae.safetensors", states["autoencoder"])
    write_tensors(tmp_path / "clip_l.safetensors", states["clip"])
    write_tensors(tmp_path / "t5xxl_fp16.safetensors", states["t5"])
    for tokenizer in ("tokenizer", "tokenizer_2"):
        shutil.copytree(folder / tokenizer, tmp_path / tokenizer)
    return tmp_path
