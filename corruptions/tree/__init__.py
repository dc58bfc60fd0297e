"""Write ImageNet-C and ImageNet-P trees, and CIFAR-style arrays, from a folder of class folders of images.

    spec      what is to be made: layout, conditions, size, seed
    source    which images there are
    render    one image or batch -> encoded files (runs in worker processes, `pool`)
    writer    every missing file of a tree, on all cores, by shares; `arrays` does the same for .npy layouts
    record    what the folder is and who writes into it: settings, versions, checksums, locks
    verify    whether what is on disk is what was written

Nothing here prints; progress goes to a callback.
"""

from __future__ import annotations

from corruptions.tree.spec import LAYOUTS, TreeSpec
from corruptions.tree.verify import Verification, verify_tree
from corruptions.tree.writer import Failure, TreeReport, write_tree

__all__ = ["LAYOUTS", "Failure", "TreeReport", "TreeSpec", "Verification", "verify_tree", "write_tree"]
