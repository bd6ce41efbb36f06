"""What may happen to a stored file: functions of its path."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from results import store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Damage = Callable[[Path], None]


def empty(path: Path) -> None:
    path.write_bytes(b"")


def a_flipped_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def a_folder(path: Path) -> None:
    store.remove(path)
    path.mkdir()


def a_broken_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/nowhere/at/all")


def a_link_loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def a_device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def huge(path: Path) -> None:
    os.truncate(path, 2**40)


def set_value(*keys: str | int, value: Any) -> Damage:
    """Writes a value into a JSON file as an earlier version would, without a checksum."""

    def change(inner: Any) -> None:
        inner[keys[-1]] = value

    return edited(keys, change, f"{'.'.join(map(str, keys))}={value!r}"[:60])


def without(*keys: str | int) -> Damage:
    """Removes a key from a JSON file, and its checksum."""

    def change(inner: Any) -> None:
        del inner[keys[-1]]

    return edited(keys, change, f"without {'.'.join(map(str, keys))}")


def edited(keys: tuple[str | int, ...], change: Callable[[Any], None], name: str) -> Damage:
    """Changes the table or list of a JSON file that the last key is of, and removes its checksum."""

    def damage(path: Path) -> None:
        content = json.loads(path.read_text())
        content.pop(store.CHECKSUM, None)
        inner = content
        for key in keys[:-1]:
            inner = inner[key]
        change(inner)
        path.write_text(json.dumps(content))

    damage.__name__ = name
    return damage
