"""What cameras and codecs do to frames: blur, rain, compression; and pairs without motion.

Each is done to a share of the pairs. Blur is almost the same in both frames; rain is drawn for each
frame.
"""

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from training.data.augment import Differences, Samples, geometric, photometric
from training.data.batch import PairBatch
from training.synthetic.scene import Sampler

# Shares of the pairs. Flat ones are still, too, of one colour.
STILL = 0.05
FLAT = 0.02
DEFOCUSED = 0.2
MOTION_BLURRED = 0.12
RAINY = 0.06
COMPRESSED = 0.25
# Exposure changes little in most pairs and much in some. Still pairs remain still.
VIDEO = Differences(shaken=0.3, light=(0.003, 0.2), brightness=0.5, gamma=0.5, noise=(-0.015, 0.03))
# Pixels around a frame before it is blurred by the Fourier transform, which is periodic.
_PADDING = 16
# JPEG's example tables (ITU T.81, annex K), of luminance and of chrominance.
_LUMINANCE = (
    *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMINANCE = (
    *(17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99),
    *(24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99),
    *(99,) * 32,
)
# From red, green and blue (JFIF, ITU T.871).
_TO_YCBCR = (
    (0.299, 0.587, 0.114),
    (-0.168736, -0.331264, 0.5),
    (0.5, -0.418688, -0.081312),
)


def augment_and_degrade(pairs: PairBatch, crop: tuple[int, int], seed: int) -> Samples:
    """Geometry, lens, light, codec, in this order; the same seed gives the same samples."""
    # 16 consecutive seeds per batch: no two generators draw the same numbers.
    first = 16 * seed
    samples = hold_still(geometric(pairs, crop, first, VIDEO), first + 1)
    samples = photometric(blur(samples, first + 4), first + 13, VIDEO)
    return compress(samples, first + 3)


def hold_still(samples: Samples, seed: int) -> Samples:
    """Replace some second images by the first one, and some pairs by one colour: no motion."""
    draw = Sampler((len(samples.flow), 1, 1, 1), seed)
    chance = draw.uniform(0, 1)
    level = draw.uniform(-0.5, 1.5).clamp(0, 1) * 255  # half of them black or white
    colour = (level + 8 * Sampler((len(chance), 3, 1, 1), seed + 1).normal()).clamp(0, 255)
    device = samples.flow.device
    flat, still = ((chance < share).to(device) for share in (FLAT, STILL + FLAT))
    image1 = torch.where(flat, colour.to(device), samples.image1)
    return Samples(
        image1,
        torch.where(still, image1, samples.image2),
        samples.flow.masked_fill(still, 0),
        samples.occluded.masked_fill(still, 0),
        samples.valid.masked_fill(still, 1),
    )


def blur(samples: Samples, seed: int) -> Samples:
    """Defocus some pairs, blur some along their motion, and draw rain."""
    batch = len(samples.flow)
    draw = Sampler((batch,), seed)
    defocused, moving = draw.uniform(0, 1) < DEFOCUSED, draw.uniform(0, 1) < MOTION_BLURRED
    sigma = defocused * draw.uniform(math.log(0.4), math.log(3.0)).exp()
    motion = samples.flow.mean(dim=(2, 3)).cpu()
    # The shutter is open for up to half of the time between frames.
    way = motion * draw.uniform(0.1, 0.5, 1) + 1.5 * draw.normal(2)
    way = moving[:, None] * way * (30 / way.norm(dim=1, keepdim=True).clamp(min=30))
    chosen = (defocused | moving).nonzero()[:, 0]
    images = []
    for frame, image in enumerate((samples.image1, samples.image2)):
        # Focus drifts between frames.
        drift = (0.1 * draw.normal()).exp()
        image = image.clone()
        if len(chosen):
            image[chosen] = _filtered(image[chosen], (sigma * drift)[chosen], way[chosen])
        images.append(_rained_on(image, seed, frame))
    return replace(samples, image1=images[0], image2=images[1])


def compress(samples: Samples, seed: int) -> Samples:
    """Round some pairs as JPEG does, with a quality of 25 to 95."""
    draw = Sampler((len(samples.flow),), seed)
    chosen = (draw.uniform(0, 1) < COMPRESSED).nonzero()[:, 0]
    quality = draw.uniform(25, 95)[chosen]
    images = [samples.image1.clone(), samples.image2.clone()]
    for image in images if len(chosen) else ():
        image[chosen] = jpeg(image[chosen], quality.to(image.device))
    return replace(samples, image1=images[0], image2=images[1])


def jpeg(images: Tensor, quality: Tensor) -> Tensor:
    """Round images as JPEG does, without subsampling the chrominance (4:4:4).

    Args:
        images: (N, 3, H, W), 0..255; H and W multiples of 8.
        quality: (N,), libjpeg's, 1..100.
    """
    tables = torch.tensor((_LUMINANCE, _CHROMINANCE, _CHROMINANCE), device=images.device)
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)[:, None, None]
    steps = ((tables * scale + 50) / 100).floor().clamp(1, 255).view(-1, 3, 1, 1, 8, 8)
    colours = torch.tensor(_TO_YCBCR, device=images.device)
    place = torch.arange(8, device=images.device)
    cosine = 0.5 * torch.cos((2 * place + 1) * place[:, None] * (math.pi / 16))
    cosine[0] /= math.sqrt(2)
    ycc = torch.einsum("dc,nchw->ndhw", colours, images - 128)
    blocks = ycc.unflatten(3, (-1, 8)).unflatten(2, (-1, 8)).transpose(3, 4)
    stored = (cosine @ blocks @ cosine.T / steps).round() * steps
    blocks = (cosine.T @ stored @ cosine).transpose(3, 4)
    restored = blocks.flatten(4, 5).flatten(2, 3)
    rgb = torch.einsum("dc,nchw->ndhw", torch.linalg.inv(colours), restored) + 128
    return rgb.round().clamp(0, 255)


def _filtered(images: Tensor, sigma: Tensor, way: Tensor) -> Tensor:
    """Blur by a Gaussian of ``sigma`` pixels, (N,), and evenly along a ``way``, (N, 2) pixels."""
    padded = F.pad(images, (_PADDING,) * 4, mode="replicate")
    height, width = padded.shape[-2:]
    passed = _transfer(sigma.to(images.device), way.to(images.device), height, width)
    found = torch.fft.irfft2(torch.fft.rfft2(padded) * passed, s=(height, width))
    return found[..., _PADDING:-_PADDING, _PADDING:-_PADDING]


def _transfer(sigma: Tensor, way: Tensor, height: int, width: int) -> Tensor:
    """Return a blur's transfer function, (N, 1, H, W // 2 + 1)."""
    y = torch.fft.fftfreq(height, device=sigma.device)[:, None]
    x = torch.fft.rfftfreq(width, device=sigma.device)
    sigma, way = sigma[:, None, None], way[..., None, None]
    gaussian = torch.exp(-2 * (math.pi * sigma) ** 2 * (x * x + y * y))
    return (gaussian * torch.sinc(way[:, 0] * x + way[:, 1] * y))[:, None]


def _rained_on(image: Tensor, seed: int, frame: int) -> Tensor:
    """Add bright streaks, parallel in each image, to some of the images."""
    count, _, height, width = image.shape
    draw = Sampler((count,), seed + 5)
    chosen = (draw.uniform(0, 1) < RAINY).nonzero()[:, 0]
    if not len(chosen):
        return image
    way = torch.stack((4 * draw.normal(), draw.uniform(8, 40)), dim=1)[chosen].to(image.device)
    density = draw.uniform(-8.5, -5.5).exp()[chosen].to(image.device)[:, None, None]
    strength = draw.uniform(30, 160)[chosen].to(image.device)[:, None, None, None]
    generator = torch.Generator(image.device).manual_seed(seed + 6 + frame)
    place, size = torch.rand(
        2, len(chosen), height, width, device=image.device, generator=generator
    )
    drops = torch.fft.rfft2(((place < density) * size)[:, None])
    passed = _transfer(torch.full_like(way[:, 0], 0.5), way, height, width)
    streaks = torch.fft.irfft2(drops * passed, s=(height, width)).clamp(min=0)
    peak = streaks.amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-6)
    image[chosen] += strength * streaks / peak
    return image
