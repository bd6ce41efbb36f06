"""Writes a trained backbone so that others load it without bench: weights, a card, and the code that reads them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from protocols.backbones import plain
from results.errors import RequestError
from results.registry import digest_of_file

if TYPE_CHECKING:
    from methods.base import Backbone

WEIGHTS = "model.safetensors"
CARD = "card.json"
CODE = "model.py"
ONNX = "model.onnx"


def write_export(backbone: Backbone, folder: Path, card: dict[str, Any], *, onnx: bool = False) -> list[Path]:
    """Write a backbone to a folder that does not exist yet, or is empty.

    Args:
        backbone: with its weights, on the CPU.
        folder: to write to.
        card: what is said of it: everything but its architecture and the digest of its weights.
        onnx: whether an ONNX file is written too.

    Returns:
        The files.

    Raises:
        RequestError: the folder has files, or cannot be written; the backbone comes from a plugin; what ONNX needs is
            not installed.
    """
    architecture = backbone.plain_architecture()
    if architecture is None:
        raise RequestError(
            f"the architecture of {card['backbone']} is known to its plugin only",
            hint="bench.load_backbone gives the module; save its state_dict()",
        )
    if onnx:
        require_onnx()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise RequestError(f"{folder} is not empty", hint="export to another folder")
    except OSError as error:
        raise RequestError(f"cannot write to {folder}: {error.strerror}") from error
    try:
        state = backbone.state_dict()
        weights = {name: state[key].detach().cpu().contiguous() for name, key in backbone.common_names().items()}
        save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
        card = {**card, "architecture": architecture, "sha256": digest_of_file(folder / WEIGHTS)}
        (folder / CARD).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
        (folder / "README.md").write_text(readme(card), encoding="utf-8")
        shutil.copyfile(Path(plain.__file__), folder / CODE)
    except (OSError, SafetensorError) as error:
        for name in (WEIGHTS, CARD, "README.md", CODE):  # half an export is none
            (folder / name).unlink(missing_ok=True)
        reason = getattr(error, "strerror", None) or error
        raise RequestError(f"cannot write to {folder}: {reason}") from error
    if onnx:
        write_onnx(plain.load(folder), card["image_side"], folder / ONNX)
    return sorted(folder.iterdir())


def require_onnx() -> None:
    """Check that what writes ONNX is installed.

    Raises:
        RequestError: it is not.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise RequestError(f"--onnx needs a package: {error}", hint="pip install 'ssl-bench[onnx]'") from error


def write_onnx(network: torch.nn.Module, side: int, path: Path) -> None:
    """Write a network as ONNX, for any number of images (n, 3, side, side), named ``images``, to ``features``."""
    torch.onnx.export(
        network,
        (torch.rand(2, 3, side, side),),
        str(path),
        input_names=["images"],
        output_names=["features"],
        dynamic_shapes=({0: torch.export.Dim("n")},),
        dynamo=True,
        external_data=False,
        verbose=False,
    )


def readme(card: dict[str, Any]) -> str:
    """The card for people, in Markdown."""
    architecture, statistics = card["architecture"], card["normalisation"]
    mean, std = (", ".join(f"{value:.4f}" for value in statistics[key]) for key in ("mean", "std"))
    rows = [
        f"| {one['evaluation']} | {one['dataset']} | {one['metric']} | {one['value']:.2f} |"
        for one in card["accuracies"]
    ]
    if card["external"]:
        training = f"weights pretrained elsewhere (`{card['weights']}`), evaluated under protocol {card['protocol']}"
    else:
        training = f"pretrained with {card['views']:,} views of {card['dataset']} under protocol {card['protocol']}"
    with_timm = ""
    if architecture["kind"] == "timm" and not architecture["small_stem"]:
        options = "".join(f", {key}={value!r}" for key, value in architecture["options"].items())
        with_timm = f"""
timm alone loads it too, without `model.py`:

```python
import timm

settings = {{"file": "{WEIGHTS}", "num_classes": 0, "custom_load": False}}
backbone = timm.create_model(
    "{architecture["model"]}", pretrained=True, num_classes=0{options}, pretrained_cfg_overlay=settings
).eval()
```
"""
        if architecture["resize"]:
            with_timm += f"\nImages of other sizes are resized to {architecture['resize']} px, by a bicubic filter.\n"
    return f"""# {card["method"]} on {card["dataset"]}, {card["backbone"]}

{card["parameters"]:,} parameters, {card["dim"]} features; {training}, seed {card["seed"]}.

| evaluation | data set | metric | value (%) |
| --- | --- | --- | ---: |
{chr(10).join(rows)}

## Load it

`pip install torch safetensors{" timm" if architecture["kind"] == "timm" else ""}`; in this folder:

```python
from model import load

backbone = load()  # a torch module in evaluation mode
features = backbone(images)  # (n, {card["dim"]})
```

`images` (n, 3, {card["image_side"]}, {card["image_side"]}) are in [0, 1], minus the mean {mean}, divided by the
standard deviation {std}, by channel.
{with_timm}
`{CARD}` has all of this, the method's options, the commit and the machine.
"""
