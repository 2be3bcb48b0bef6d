"""Every kind of network, one row each. A new kind is one more file here, and one more row."""

from flux1.weights.kinds.autoencoder import AUTOENCODER
from flux1.weights.kinds.bert import BERT
from flux1.weights.kinds.clip import CLIP
from flux1.weights.kinds.kind import Kind, NetworkKind
from flux1.weights.kinds.t5 import T5
from flux1.weights.kinds.transformer import TRANSFORMER

KINDS: dict[Kind, NetworkKind] = {row.id: row for row in (TRANSFORMER, AUTOENCODER, CLIP, T5, BERT)}
PUBLISHED = tuple(row for row in KINDS.values() if row.places.folder)  # FLUX.1's own parts
