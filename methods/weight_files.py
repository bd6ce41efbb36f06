"""Weights of other libraries and of papers' code: reads their files, and finds a backbone's weights in them."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import torch

from results.errors import RequestError, describe
from results.files import require_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from torch import Tensor

    from methods.base import Backbone

SHOWN_KEYS = 3
"""Keys of a kind that a message shows."""

SPELLINGS: tuple[dict[str, str], ...] = (
    {},
    {"downsample": "shortcut"},
    {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"},
    {"conv1": "0", "bn1": "1", "layer1": "2", "layer2": "3", "layer3": "4", "layer4": "5", "downsample": "shortcut"},
)
"""How a part of a key is spelled: as in torchvision and timm; as in lightly's ResNets; as in an ``nn.Sequential`` of
the children of torchvision's ResNets, and of lightly's. All but ``downsample`` are the first part of a key."""

NETWORKS = (re.compile(r"teacher"), re.compile(r"momentum|encoder_k|target|key|ema"))
"""Names of the network that is taken of several that fit, and of those that are taken last."""


COUNTER = "num_batches_tracked"
"""Buffer of BatchNorm that old files do not have, and no feature depends on."""


TORCH_MAGIC = (b"PK", b"\x80")
"""How files of ``torch.save`` begin: a ZIP archive, or, before torch 1.6, a pickle."""


class InertObject:
    """Takes the place of every object in a file that is no tensor and no plain value; nothing of its class runs."""

    def __new__(cls, *_: Any, **__: Any) -> Self:
        """An object without content, whatever it is made from."""
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        """Forget the state."""


@dataclass(frozen=True)
class Match:
    """A backbone's weights in a file.

    Attributes:
        prefix: of the keys in the file.
        layers: first parts of the keys of the backbone's weights in the file, without the prefix.
        tensors: by keys of the backbone's state dict.
        missing: common names of the backbone's weights that are not in the file.
        shapes: common names of weights that have another shape in the file, with both shapes.
        unexpected: keys under the prefix that are none of the backbone's weights, without it.
        others: prefixes of other networks in the file that fit as well.
    """

    prefix: str
    layers: frozenset[str]
    tensors: Mapping[str, Tensor]
    missing: tuple[str, ...]
    shapes: tuple[str, ...]
    unexpected: tuple[str, ...]
    others: tuple[str, ...]

    @property
    def foreign(self) -> tuple[str, ...]:
        """The ``unexpected`` keys in layers that the backbone has."""
        return tuple(name for name in self.unexpected if name.partition(".")[0] in self.layers)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor of a file of weights, by its key; nested keys are joined by dots.

    Nothing in the file is executed: of a pickle only tensors and plain values are made, and an :class:`InertObject` in
    the place of anything else.

    Args:
        path: a safetensors file, or what ``torch.save`` or Lightning wrote.

    Raises:
        RequestError: it is neither, or holds no tensor.
    """
    try:
        require_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of pickles that others wrote
            content = load_file(path)
    except OSError as error:
        raise RequestError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # torch and safetensors raise a dozen kinds for files that they cannot read
        _, refused, reason = str(error).rpartition("WeightsUnpickler error:")
        reason = reason.partition("Check the documentation")[0] if refused else describe(error)
        if path.suffix != ".safetensors" and not is_torch_file(path):
            reason = "it is no torch file"
        raise RequestError(
            f"{path} cannot be read as weights: {' '.join(reason.split())[:160]}",
            hint="save its state_dict() alone, by torch.save or as safetensors",
        ) from error
    tensors = dict(flatten(content))
    if not tensors:
        raise RequestError(f"{path} holds no tensors", hint="save the network's state_dict()")
    return tensors


def load_file(path: Path) -> Any:
    """The content of a file of weights, by the library that its name asks for."""
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file as load_safetensors

        return load_safetensors(path)
    with torch.serialization.safe_globals(inert_globals(path)):
        return torch.load(path, map_location="cpu", weights_only=True)


def is_torch_file(path: Path) -> bool:
    """Whether a file begins as those of ``torch.save`` do."""
    with path.open("rb") as file:
        return file.read(2).startswith(TORCH_MAGIC)


def inert_globals(path: Path) -> list[Any]:
    """What :func:`torch.load` would refuse in a file, each name with an inert class of its own."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # noqa: BLE001 - a file of torch before 1.6, or none: torch.load will say
        return []
    return [(type("InertObject", (InertObject,), {}), name) for name in names]


def flatten(content: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors of nested tables, with their keys joined by dots; those of optimizers are left out."""
    if isinstance(content, torch.Tensor):
        yield prefix.removesuffix("."), content
    elif isinstance(content, Mapping):
        for key, value in content.items():
            if not str(key).startswith("optimizer"):
                yield from flatten(value, f"{prefix}{key}.")


def find_weights(backbone: Backbone, tensors: Mapping[str, Tensor], prefix: str = "") -> Match | None:
    """Find a backbone's weights among the tensors of a file, whatever its prefix and spelling; None if there are none.

    Of several networks that have equally many of its weights, the one called teacher is taken, else the one that is not
    called a momentum, key or target network, else the one with the shortest prefix.

    Args:
        backbone: whose weights they are to be.
        tensors: of the file.
        prefix: of the keys, if it is known.
    """
    names, state = backbone.common_names(), backbone.state_dict()
    found: Counter[tuple[str, int]] = Counter()
    for number, spelled in enumerate(spellings(names)):
        known = set(spelled)
        for key in tensors:
            parts = key.split(".")
            for cut in range(len(parts)):
                if ".".join(parts[cut:]) in known:
                    found[".".join(parts[:cut]) + "." * bool(cut), number] += 1
    if prefix:
        found = Counter({choice: count for choice, count in found.items() if choice[0] in (prefix, f"{prefix}.")})
    if not found:
        return None
    best = max(found.values())
    fitting = sorted((choice for choice, count in found.items() if count == best), key=preference)
    chosen, number = fitting[0]
    spelled = spellings(names)[number]
    here = {key.removeprefix(chosen): value for key, value in tensors.items() if key.startswith(chosen)}
    common = {key: name for name, key in names.items()}
    matched = {key: here[name] for name, key in spelled.items() if name in here}
    return Match(
        chosen,
        frozenset(name.partition(".")[0] for name in spelled),
        matched,
        missing=tuple(common[key] for key in spelled.values() if key not in matched and not key.endswith(COUNTER)),
        shapes=tuple(
            f"{common[key]} is {tuple(value.shape)} instead of {tuple(state[key].shape)}"
            for key, value in matched.items()
            if value.shape != state[key].shape
        ),
        unexpected=tuple(name for name in here if name not in spelled and not name.endswith(COUNTER)),
        others=tuple(dict.fromkeys(other for other, _ in fitting if other != chosen)),
    )


def spellings(names: Mapping[str, str]) -> list[dict[str, str]]:
    """Common names in every spelling, and the keys of the state dict themselves, each with its key there."""
    found = [dict(zip(names.values(), names.values(), strict=True))]
    for changes in SPELLINGS:
        spelled = {}
        for name, key in names.items():
            first, *rest = name.split(".")
            parts = [
                changes.get(first, first),
                *(changes.get(part, part) if part == "downsample" else part for part in rest),
            ]
            spelled[".".join(parts)] = key
        found.append(spelled)
    return found


def preference(choice: tuple[str, int]) -> tuple[bool, bool, int, int]:
    """Sorts the prefixes of networks that fit equally well; see :func:`find_weights`."""
    prefix, spelling = choice
    first, last = NETWORKS
    return not first.search(prefix), bool(last.search(prefix)), spelling, len(prefix)


def load_weights(backbone: Backbone, tensors: Mapping[str, Tensor], source: str, prefix: str = "") -> str:
    """Copy a backbone's weights from the tensors of a file.

    Args:
        backbone: that they are copied to.
        tensors: of the file.
        source: what the file is called in messages.
        prefix: of the keys, if it is known.

    Returns:
        One line that says which keys were taken and which were left out.

    Raises:
        RequestError: weights of the backbone are missing or have other shapes, or the file has more layers.
    """
    match = find_weights(backbone, tensors, prefix)
    if match is None:
        raise RequestError(
            f"{source} has no weights of this backbone: its keys are {first_of(tensors)}",
            hint="choose the backbone that it was made of" if not prefix else "leave prefix out to search for it",
        )
    problems = {
        "missing": match.missing,
        "of another shape": match.shapes,
        "not in the backbone": match.foreign,
    }
    if any(problems.values()):
        where = f" under {match.prefix!r}" if match.prefix else ""
        words = "; ".join(f"{len(names)} {what}: {first_of(names)}" for what, names in problems.items() if names)
        raise RequestError(f"{source} does not fit the backbone{where}: {words}", hint=hint_for(match, tensors))
    state = backbone.state_dict()
    with torch.no_grad():
        for key, value in match.tensors.items():
            state[key].copy_(value)
    notes = [f"{len(match.tensors)} tensors" + (f" under {match.prefix!r}" if match.prefix else "")]
    if match.unexpected:
        notes.append(f"left out {first_of(match.unexpected)}")
    if match.others:
        notes.append(f"others that fit: {', '.join(map(repr, match.others))}; prefix= chooses")
    return f"{source}: {'; '.join(notes)}"


def first_of(names: Iterable[str]) -> str:
    """The first of some keys, and how many more there are."""
    known = list(names)
    more = f" and {len(known) - SHOWN_KEYS} more" if len(known) > SHOWN_KEYS else ""
    return ", ".join(known[:SHOWN_KEYS]) + more


def hint_for(match: Match, tensors: Mapping[str, Tensor]) -> str:
    """Which backbone the weights may be of, told by the shapes of its first layer if the others fit."""
    if match.missing or match.foreign:
        return "choose the backbone that it was made of"
    first = next(
        (tensors[key] for name in ("conv1.weight", "0.weight") if (key := match.prefix + name) in tensors), None
    )
    if first is not None and any(text.startswith("conv1.weight ") for text in match.shapes):
        kernel = first.shape[-1]
        return (
            "the file has a stem for small images: add @small"
            if kernel == 3
            else (f"the file has a {kernel}×{kernel} stem: leave out @small")
        )
    patches, positions = (tensors.get(match.prefix + name) for name in ("patch_embed.proj.weight", "pos_embed"))
    if patches is not None and positions is not None and patches.ndim == 4 and positions.ndim == 3:
        patch, side = patches.shape[-1], int((positions.shape[1]) ** 0.5)
        return f"it is of a ViT with @patch={patch} and image_size={side * patch}"
    return "choose the backbone that it was made of"
