"""basicsr's own networks, which ours are compared with."""

from __future__ import annotations

import sys
import warnings

from torchvision.transforms import functional

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of a package that is no longer kept up; ours stay errors
    # basicsr.data imports a name that torchvision has removed; what it wants from it lives here today.
    sys.modules.setdefault("torchvision.transforms.functional_tensor", functional)
    from basicsr.archs.rrdbnet_arch import RRDBNet
    from basicsr.archs.srvgg_arch import SRVGGNetCompact

__all__ = ["RRDBNet", "SRVGGNetCompact"]
