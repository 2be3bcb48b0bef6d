"""flux-mini's sentence encoder: its names, its row."""

from flux1.model.bert import BertText
from flux1.weights.files.lazy import StoredTensors
from flux1.weights.kinds.kind import Described, NetworkKind, Part, Places, State
from flux1.weights.kinds.lines import renamed


def _ours(state: State, dialect: str, config: object) -> StoredTensors:
    """A BERT file, with or without the `bert.` prefix, in BertText's names (no pooling layer)."""
    return renamed(state, bert_name)


def bert_name(name: str) -> str | None:
    """BertText's name of one tensor; None for what it does not use."""
    bare = name.removeprefix("bert.")
    unused = {"embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias"}
    return None if bare in unused else f"bert.{bare}"


def _describe(part: Part, called: str) -> Described:
    found = [name for name in map(bert_name, part.tensors) if name is not None]
    return Described("of flux-mini's kind", "", found, bert_name)


BERT = NetworkKind(
    id="bert",
    title="a sentence encoder",
    build=BertText,
    signatures={"transformers": "encoder.layer.0.attention.self.query."},
    ours=_ours,
    describe=_describe,
    places=Places(words="tokenizer", word_files=("tokenizer.json",)),
    wrapping="bert.",
)
