"""Which published file some bytes are, whatever the file is called now."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import PurePosixPath

from robustbench_lift.weights.read import RawWeights


@lru_cache(maxsize=1)
def _torchvision_files() -> dict[str, str]:
    """File names of torchvision's published weights by the hash in them."""
    import torchvision

    files: dict[str, str] = {}
    for name in torchvision.models.list_models(module=torchvision.models):
        for weights in torchvision.models.get_model_weights(name):
            file = PurePosixPath(weights.url).name
            if match := re.search(r"-([0-9a-f]{8})\.", file):
                files[match[1]] = file
    return files


def published_as(raw: RawWeights) -> str | None:
    """The name of the torchvision file that these bytes are, whatever the file is called now."""
    return _torchvision_files().get(raw.sha256[:8])
