"""Writes scene.webp: a picture of 1024x768 with the spectrum of a photograph, as WebP of quality 80.

    python scene.py            # numpy 2.4, pillow 12.3
"""
from pathlib import Path

import numpy as np
from PIL import Image

random = np.random.default_rng(1)
height, width = 768, 1024
frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(height) * height, np.fft.fftfreq(width) * width, indexing="ij"))
frequency[0, 0] = np.inf
layers = []
for _ in range(3):
    noise = np.fft.fft2(random.normal(size=(height, width))) / frequency**1.5
    layer = np.fft.ifft2(noise).real
    layers.append(layer / layer.std())
gray, *colours = layers
pixels = np.stack([gray + 0.3 * colours[0], gray + 0.1 * colours[1], gray - 0.3 * colours[0]], axis=-1)
pixels = np.clip(128 + 48 * pixels, 0, 255).astype(np.uint8)
Image.fromarray(pixels).save(Path(__file__).with_name("scene.webp"), quality=80, method=4)
