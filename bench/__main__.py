"""``bench`` and ``python -m bench``."""

from __future__ import annotations

import sys

from bench.shadowing import shadowed_package


def main() -> None:
    """Run the command line, unless a foreign module hides one of our packages."""
    if problem := shadowed_package():
        sys.stderr.write(f"bench: {problem}\n")
        sys.exit(2)
    from bench.cli import main as command_line

    command_line()


if __name__ == "__main__":
    main()
