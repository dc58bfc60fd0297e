"""Add trained weights to those that ship: copy the file, write its card, and enter it in `index.toml`.

python -m checkpoints add photos/resnet-lift training-runs/resnet8-lift/final.safetensors

Everything that the card and the index say is read from the header that `train` wrote into the file. Where that knows a
file's name only, `--card data="ten classes of ImageNet"` says more; any other entry may be replaced so.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file, save_file

HERE = Path(__file__).parent
HEAD = """\
# Weights that ship with the package. Written by `python -m checkpoints add`; the sha256 is checked at every load.
"""


def header(file: Path) -> tuple[dict[str, str], int]:
    """The metadata of a .safetensors file and the number of its parameters, buffers of batch norm left out."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        content = json.loads(stream.read(length))
    card = content.pop("__metadata__", {})
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    learned = 0
    for name, tensor in content.items():
        if name.rpartition(".")[2] not in buffers:
            size = 1
            for side in tensor["shape"]:
                size *= side
            learned += size
    return card, learned


def add(name: str, file: Path, changes: Mapping[str, str] | None = None) -> None:
    """Copy, describe, enter."""
    card, parameters = header(file)
    target = HERE / f"{name}.safetensors"
    target.parent.mkdir(parents=True, exist_ok=True)
    if changes:
        if unknown := set(changes) - set(card):
            raise SystemExit(
                f"the card of {file} has no {', '.join(sorted(unknown))}; it has {', '.join(sorted(card))}."
            )
        card |= changes
        save_file(load_file(file), target, metadata=card)
    else:
        shutil.copyfile(file, target)
    entry: dict[str, str | int | float] = {
        "file": f"{name}.safetensors",
        "sha256": hashlib.sha256(target.read_bytes()).hexdigest(),
        "architecture": card["architecture"],
        "pooling": card["pooling"],
        "placement": card.get("placement", ""),
        "parameters": parameters,
        "clean_error": float(card["clean_error"]),
        "data": card["data"],
        "recipe": card["recipe"],
    }
    target.with_suffix(".md").write_text(describe(name, entry, card), encoding="utf-8")
    index = HERE / "index.toml"
    entries = tomllib.loads(index.read_text(encoding="utf-8")) if index.exists() else {}
    entries[name] = entry
    index.write_text(HEAD + "".join(section(key, entries[key]) for key in sorted(entries)), encoding="utf-8")
    print(f"{target}: {target.stat().st_size / 1000:.0f} kB, clean error {entry['clean_error']:.1%}")


def section(name: str, entry: dict[str, str | int | float]) -> str:
    """One table of index.toml."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in entry.items()]
    return f'\n["{name}"]\n' + "\n".join(lines) + "\n"


def describe(name: str, entry: dict[str, str | int | float], card: dict[str, str]) -> str:
    """The card as a page."""
    rows = "\n".join(f"| {key} | `{value}` |" for key, value in sorted(card.items()) if value)
    error = float(entry["clean_error"])
    # a network for label maps takes whole images, and its error is what is missing to an mIoU of 1
    result = f"clean error {error:.1%}" if card.get("crop") else f"mIoU {1 - error:.1%}"
    sized = f"small images ({card['crop']} pixels)" if card.get("crop") else "pixels in small images"
    return (
        f"# {name}\n\n"
        f"{entry['architecture']} with {entry['pooling']} pooling, {entry['parameters']:,} parameters, trained on "
        f"{entry['data']} by the recipe `{entry['recipe']}`; {result} on its test images.\n\n"
        f'Load it as `{name}`: as a model spec, or with `load_model("{name}")`.\n\n'
        f"## Intended use\n\n"
        f"Trying the benchmark, the gate and plug-ins without a GPU; comparing poolings at a size at which anybody can "
        f"train again; tests.\n\n"
        f"## Limits\n\n"
        f"- It knows {card['num_classes']} classes of {sized} and was trained once "
        f"(seed {card.get('seed', 'unknown')}); another seed moves its errors by a point or more.\n"
        f"- No conclusion about ImageNet, about large networks or about its pooling in general follows from it.\n"
        f"- It is not made for use on other images, and not for decisions about people.\n\n"
        f"## How it was made\n\n"
        f"| header of the file | |\n|---|---|\n{rows}\n"
    )


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["add"])
    parser.add_argument("name", help="name to load it by, such as photos/resnet-lift")
    parser.add_argument("file", type=Path, help="a .safetensors file that `train` wrote")
    parser.add_argument("--card", action="append", default=[], metavar="KEY=VALUE", help="replace an entry of the card")
    options = parser.parse_args()
    add(options.name, options.file, dict(change.partition("=")[::2] for change in options.card))


if __name__ == "__main__":
    main()
