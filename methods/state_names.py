"""State dicts that were saved when buffers or submodules had other names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


def load_old_names(module: nn.Module, renamed: dict[str, str]) -> None:
    """Make ``module.load_state_dict`` accept the names of earlier versions.

    Args:
        module: the module whose direct parameters, buffers or submodules were renamed.
        renamed: old name to new name.
    """

    def rename(_module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
        for old, new in renamed.items():
            for key in list(state_dict):
                if key == prefix + old or key.startswith(f"{prefix}{old}."):
                    state_dict[prefix + new + key.removeprefix(prefix + old)] = state_dict.pop(key)

    module.register_load_state_dict_pre_hook(rename)
