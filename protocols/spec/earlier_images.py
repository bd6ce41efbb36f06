"""Runs of earlier versions, which knew images by names and sizes of files, or by the name of the data set alone.

The first time that such runs meet images that could be theirs, they are accepted, and a file of the runs folder says of
which content they are from then on. While the images are those, all runs of that folder keep the earlier digest, so
that new ones can be compared with old ones. Images of another content have runs of their own.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from typing import TYPE_CHECKING, Any

from protocols.spec.labels import HELD_OUT
from protocols.spec.plugins import dataset_source
from protocols.spec.resolve import datasets_of
from results.files import read_bytes
from results.store import CONFIG, EARLIER_IMAGES, read_earlier_images, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from protocols.spec.run import Component, Run

log = logging.getLogger(__name__)


def with_earlier_digests(runs: Sequence[Run], folder: Path, data: Path) -> list[Run]:
    """Runs whose data sets have the digest under which the runs folder knows their images.

    Args:
        runs: to be planned.
        folder: of the runs.
        data: folder of the data sets.

    Raises:
        RequestError: :data:`~results.store.EARLIER_IMAGES` is damaged.
    """
    components = {part.name: part for run in runs for part in datasets_of(run) if part.digest}
    if not components or not folder.is_dir():
        return list(runs)
    accepted, before = read_earlier_images(folder), dict[str, str]()
    for name, component in components.items():
        earlier = dataset_source(name, data).earlier_digest()
        if earlier is None:
            continue
        key = earlier or name.removeprefix(HELD_OUT)
        if key not in accepted and any_run_of(folder, name, earlier):
            log.warning(
                "%s: runs in %s are of an earlier version, which did not look into images: accepted as made of "
                "those that are there now",
                name,
                folder,
            )
            accepted[key] = component.digest
            write_json(folder / EARLIER_IMAGES, accepted)
        if accepted.get(key) == component.digest:
            before[name] = earlier

    def renamed(component: Component) -> Component:
        return dataclasses.replace(component, digest=before.get(component.name, component.digest))

    if not before:
        return list(runs)
    evaluations = {  # runs that differ in their seed go on sharing these
        id(run.evaluations): tuple(dataclasses.replace(one, dataset=renamed(one.dataset)) for one in run.evaluations)
        for run in {id(run.evaluations): run for run in runs}.values()
    }
    return [
        dataclasses.replace(run, dataset=renamed(run.dataset), evaluations=evaluations[id(run.evaluations)])
        for run in runs
    ]


def any_run_of(folder: Path, name: str, digest: str) -> bool:
    """Whether a folder holds a run of a data set with a digest, or without one, as earlier versions stored it."""
    family = name.removeprefix(HELD_OUT).partition(":")[0]
    needle = (digest or family).encode()
    for path in folder.glob(f"*/{CONFIG}"):
        try:
            text = read_bytes(path)
            if needle not in text:
                continue
            config = json.loads(text)
            parts = [config["dataset"], *(part.get("dataset", config["dataset"]) for part in config["evaluations"])]
            if any(is_of(part, family, digest) for part in parts):
                return True
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue  # whoever reads the runs says what is wrong with it
    return False


def is_of(dataset: Mapping[str, Any], family: str, digest: str) -> bool:
    """Whether a stored data set is one of a family, with a digest."""
    stored = str(dataset["name"]).removeprefix(HELD_OUT).partition(":")[0], dataset.get("digest", "")
    return stored == (family, digest)
