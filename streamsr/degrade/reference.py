"""basicsr, the code Real-ESRGAN was trained with: the one place of degrade and train that imports it.

Importing this module raises ConfigError where basicsr is not installed. Its kernel and noise functions whose names
begin with `random_` or `generate_` draw from the global generators: ours do not call them, tests compare with them."""

from __future__ import annotations

import sys
import warnings

import numpy as np
from torchvision.transforms import functional

from streamsr.errors import ConfigError

try:
    # The import sets numpy's error handling for the whole process (undone by errstate) and warns of old Python.
    with warnings.catch_warnings(), np.errstate():
        warnings.simplefilter("ignore")
        # basicsr.data imports a name that torchvision has removed; what it wants from it lives here today.
        sys.modules.setdefault("torchvision.transforms.functional_tensor", functional)
        from basicsr.archs.discriminator_arch import UNetDiscriminatorSN
        from basicsr.archs.rrdbnet_arch import RRDBNet
        from basicsr.archs.srvgg_arch import SRVGGNetCompact
        from basicsr.archs.vgg_arch import NAMES as VGG_NAMES
        from basicsr.archs.vgg_arch import VGGFeatureExtractor
        from basicsr.data.degradations import (
            bivariate_Gaussian,
            bivariate_generalized_Gaussian,
            bivariate_plateau,
            circular_lowpass_kernel,
            generate_gaussian_noise_pt,
            generate_poisson_noise_pt,
            random_mixed_kernels,
        )
        from basicsr.losses.basic_loss import PerceptualLoss
        from basicsr.losses.gan_loss import GANLoss
        from basicsr.metrics import calculate_niqe, calculate_psnr, calculate_ssim
        from basicsr.utils.diffjpeg import DiffJPEG
        from basicsr.utils.img_process_util import USMSharp, filter2D
except ImportError as error:
    raise ConfigError(
        "training needs basicsr", where=str(error), remedy="Install it: pip install 'streamsr[train]'."
    ) from error

__all__ = [
    "VGG_NAMES",
    "DiffJPEG",
    "GANLoss",
    "PerceptualLoss",
    "RRDBNet",
    "SRVGGNetCompact",
    "UNetDiscriminatorSN",
    "USMSharp",
    "VGGFeatureExtractor",
    "bivariate_Gaussian",
    "bivariate_generalized_Gaussian",
    "bivariate_plateau",
    "calculate_niqe",
    "calculate_psnr",
    "calculate_ssim",
    "circular_lowpass_kernel",
    "filter2D",
    "generate_gaussian_noise_pt",
    "generate_poisson_noise_pt",
    "random_mixed_kernels",
]
