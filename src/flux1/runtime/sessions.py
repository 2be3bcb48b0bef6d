"""ONNX Runtime's sessions: one for each graph, on the processor that was asked for and no other."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime

from flux1.errors import Flux1Error, WeightsError, nearest
from flux1.runtime.folder import Exported

SUFFIX = "ExecutionProvider"
CPU = f"CPU{SUFFIX}"
# Weights in 8 bits alone are multiplied in float32; else the runtime rounds what they meet, too.
EXACT = ("session.qdq_matmulnbits_accuracy_level", "1")
# Threads that wait sleep: on cores that are shared, spinning costs more than it gains.
NO_SPINNING = ("session.intra_op.allow_spinning", "0")
Arrays = Mapping[str, np.ndarray]


def choose_provider(wanted: str) -> str:
    """ONNX Runtime's name of an execution provider: 'cpu', 'cuda', 'CoreMLExecutionProvider'...

    Flux1Error, with those that are here, if it is not one of them.
    """
    here = {
        name.removesuffix(SUFFIX).lower(): name for name in onnxruntime.get_available_providers()
    }
    asked = wanted.lower().removesuffix(SUFFIX.lower())
    if asked not in here:
        raise Flux1Error(
            f"provider: {wanted!r} is not in this ONNX Runtime; here: {', '.join(here)}"
            f"{nearest(asked, here)}"
        )
    return here[asked]


class OnnxNetwork:
    """One graph, ready to run."""

    def __init__(self, folder: Path, exported: Exported, component: str, provider: str) -> None:
        """WeightsError, one line, if the graph is damaged, of another model, or in a number format
        that the provider cannot compute in."""
        self.file = folder / exported.components[component]
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # what goes wrong is raised
        options.add_session_config_entry(*EXACT)
        options.add_session_config_entry(*NO_SPINNING)
        providers = [provider] if provider == CPU else [provider, CPU]
        try:
            self._session = onnxruntime.InferenceSession(self.file, options, providers)
        except Exception as failure:  # the runtime's own share no other base
            reason = " ".join(str(failure).split())
            raise WeightsError(
                f"{self.file}: does not run in {exported.dtype} on {provider}: {reason}"
            ) from failure
        if self._session.get_providers()[0] != provider:
            raise Flux1Error(f"provider: {provider} does not start on this machine")
        metadata = self._session.get_modelmeta().custom_metadata_map
        for key, wanted in (("model_hash", exported.model_hash), ("component", component)):
            if metadata.get(f"flux1.{key}") != wanted:
                raise WeightsError(
                    f"{self.file}: its {key} is {metadata.get(f'flux1.{key}')}, not {wanted}: "
                    "a graph of another model"
                )
        self.inputs = {one.name for one in self._session.get_inputs()}

    def __call__(self, **inputs: np.ndarray) -> list[np.ndarray]:
        """Its outputs, in their order. Flux1Error if it fails, out of memory above all."""
        try:
            outputs: list[np.ndarray] = self._session.run(None, inputs)
        except Exception as failure:
            reason = " ".join(str(failure).split())
            raise Flux1Error(f"{self.file}: failed to run: {reason}") from failure
        return outputs
