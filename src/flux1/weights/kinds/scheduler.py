"""A model's times, as diffusers' scheduler_config.json tells them."""

import math

from flux1.errors import WeightsError
from flux1.flow.shift import Schedule, Spacing
from flux1.weights.kinds.keys import ConfigFile, Keys, Only

EULER = "FlowMatchEulerDiscreteScheduler"
KEYS = Keys(  # FlowMatchEulerDiscreteScheduler's
    used={
        "shift": 1.0, "use_dynamic_shifting": False, "base_shift": 0.5, "max_shift": 1.15,
        "base_image_seq_len": 256, "max_image_seq_len": 4096, "use_karras_sigmas": False,
        "use_exponential_sigmas": False, "time_shift_type": "exponential",
    },
    only={
        "_class_name": Only(EULER, (EULER,)),
        "num_train_timesteps": Only(1000, (1000,)),
        "time_shift_type": Only("exponential", ("exponential", "linear")),
        "invert_sigmas": Only(False, (False,)),
        "shift_terminal": Only(None, (None,)),
        "use_beta_sigmas": Only(False, (False,)),
        "stochastic_sampling": Only(False, (False,)),
        # No parameters of the scheduler, but read from its file all the same.
        "sigma_min": Only(None, (None,)),
        "sigma_max": Only(None, (None,)),
        "use_flow_sigmas": Only(False, (False, None)),
    },
)  # fmt: skip


def scheduler_config(config_file: ConfigFile) -> tuple[bool, Schedule]:
    """A FlowMatchEulerDiscreteScheduler's scheduler_config.json: whether times are shifted, and how
    they are spread. A static shift is one whose strength does not depend on the tokens."""
    found = KEYS.read(config_file)
    few, many = found["base_image_seq_len"], found["max_image_seq_len"]
    linear = found["time_shift_type"] == "linear"
    if found["use_dynamic_shifting"]:
        low, high = found["base_shift"], found["max_shift"]
    else:
        _positive("shift", found["shift"])
        low = high = found["shift"] if linear else math.log(found["shift"])
    for key in ("base_shift", "max_shift") if linear else ():
        _positive(key, found[key])
    if few == many:
        raise WeightsError(f"base_image_seq_len and max_image_seq_len are both {few}")
    spacings: list[Spacing] = [
        spacing for spacing in ("karras", "exponential") if found[f"use_{spacing}_sigmas"]
    ]
    if len(spacings) > 1:
        raise WeightsError("use_karras_sigmas and use_exponential_sigmas are both True; keep one")
    schedule = Schedule((few, float(low)), (many, float(high)), linear, (*spacings, "even")[0])
    return found["use_dynamic_shifting"] or found["shift"] != 1, schedule


def _positive(key: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise WeightsError(f"{key} is {value!r}, it must be above 0")
