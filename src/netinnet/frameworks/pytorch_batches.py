"""A training's batches made on a GPU, where the pictures lie: the numbers are those of NumPy's.

What is drawn comes from NumPy (`data/augmentation.py`); what is computed of it is in whole numbers,
or one rounding after the other. So a CPU, on which the tests run this, and a GPU agree.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from netinnet import units
from netinnet.data.augmentation import Draws, Windows, line_of_colours, neighbours
from netinnet.data.batches import TrainingBatches
from netinnet.data.mixing import Mixture
from netinnet.data.source import Indices, chunks
from netinnet.data.targets import Batch
from netinnet.preprocessing import line

MOST_OF_FREE = 0.5
"""Share of a GPU's free memory that pictures may take: the rest is for training."""


def on_gpu(batches: TrainingBatches, device: torch.device) -> DeviceBatches | str:
    """The batches made on a GPU, or why they are not."""
    if batches.soft is not None and batches.soft.teacher is not None:
        return "the teacher needs them there"
    needed = batches.source.pictures(np.arange(1)).size * len(batches.source)
    free, _ = torch.cuda.mem_get_info(device)
    if needed > free * MOST_OF_FREE:
        return f"the pictures take {units.size(needed)}, and {units.size(free)} are free there"
    return DeviceBatches(batches, device)


class DeviceBatches:
    """The batch of each step as `batches` makes it, its images on a device.

    A teacher needs its pictures in NumPy, so there is none.
    """

    def __init__(self, batches: TrainingBatches, device: torch.device) -> None:
        self.batches, self.device = batches, device
        source = batches.source
        shape = source.pictures(np.arange(1)).shape[1:]
        self.pictures = torch.empty((len(source), *shape), dtype=torch.uint8, device=device)
        for chunk in chunks(len(source)):
            part = torch.from_numpy(np.ascontiguousarray(source.pictures(chunk)))
            self.pictures[chunk[0] : chunk[-1] + 1] = part
        self._scale, self._offset = map(self._there, line(batches.preprocessing))

    def __call__(self, step: int) -> Batch:
        """The batch of a step, numbered from 0 over all epochs."""
        chosen, key, mirrored = self.batches.chosen(step)
        labels, soft = self.batches.source.labels[chosen], self.batches.soft
        pictures = self.pictures[self._there(chosen)]
        draws = self.batches.augmentation.draw(tuple(pictures.shape), key, mirrored)
        images = self._augmented(pictures, draws).float().mul_(self._scale).sub_(self._offset)
        if soft is None:
            return Batch(images, labels, labels)
        mixture, labels, targets = soft.learnt(labels, tuple(images.shape), key)
        return Batch(images if mixture is None else self._mixed(images, mixture), labels, targets)

    def _there(self, array: npt.NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.array(array)).to(self.device)

    def _augmented(self, images: Tensor, draws: Draws) -> Tensor:
        """`augmentation.apply`."""
        if draws.crops is not None:
            images = self._resized_crop(images, draws.crops)
        if draws.corners is not None:
            images = self._shifted(images, draws.corners, draws.padding)
        if draws.mirrored is not None:
            mirrored = self._there(draws.mirrored)[:, None, None, None]
            images = torch.where(mirrored, images.flip(2), images)
        if draws.colours is not None:
            images = self._jittered(images, draws.colours)
        return self._erased(images, draws) if draws.erased else images

    def _resized_crop(self, images: Tensor, windows: Windows) -> Tensor:
        count, height, width, _ = images.shape
        picture = torch.arange(count, device=self.device)[:, None]
        upper, lower, down = self._neighbours(windows.tops, windows.heights, height)
        mixed = _between(images[picture, upper], images[picture, lower], down[..., None, None])
        left, right, across = self._neighbours(windows.lefts, windows.widths, width)
        columns = mixed.transpose(1, 2)
        mixed = _between(columns[picture, left], columns[picture, right], across[..., None, None])
        return mixed.transpose(1, 2)

    def _neighbours(self, starts: Indices, lengths: Indices, target: int) -> list[Tensor]:
        return [self._there(array) for array in neighbours(starts, lengths, target)]

    def _shifted(self, images: Tensor, corners: Indices, margin: int) -> Tensor:
        count, height, width, _ = images.shape
        padded = F.pad(images, (0, 0, margin, margin, margin, margin))
        tops, lefts = self._there(corners)[..., None]
        rows = tops + torch.arange(height, device=self.device)
        columns = lefts + torch.arange(width, device=self.device)
        picture = torch.arange(count, device=self.device)[:, None, None]
        return padded[picture, rows[:, :, None], columns[:, None, :]]

    def _jittered(self, images: Tensor, colours: npt.NDArray[np.int32]) -> Tensor:
        grey = values = images.int()
        if images.shape[3] == 3:
            red, green, blue = values.unbind(3)
            grey = ((77 * red + 150 * green + 29 * blue) >> 8)[..., None]
        # Divided as NumPy does it: a GPU's mean multiplies by the rounded inverse.
        total = grey.sum((1, 2, 3), keepdim=True)
        mean = (total.double() / grey[0].numel()).round().int()
        own, of_grey, of_mean = line_of_colours(self._there(colours)[..., None, None, None])
        jittered: Tensor = values * own + (grey * of_grey + mean * of_mean + 128)
        return (jittered >> 8).clip(0, 255).byte()

    def _erased(self, images: Tensor, draws: Draws) -> Tensor:
        """All rectangles at once: each in a picture of its own that is copied to the device."""
        places = [erased.picture for erased in draws.erased]
        noise = np.zeros((len(places), *images.shape[1:]), np.uint8)
        is_noise = np.zeros((*noise.shape[:3], 1), np.bool_)
        for i, (_, window, values) in enumerate(draws.erased):
            noise[i][window], is_noise[i][window] = values, True
        chosen = self._there(np.array(places))
        changed = torch.where(self._there(is_noise), self._there(noise), images[chosen])
        return images.index_copy(0, chosen, changed)

    def _mixed(self, images: Tensor, mixture: Mixture) -> Tensor:
        """`Mixture.images`."""
        partners = images[self._there(mixture.partners)]
        if mixture.window is None:
            own = np.float32(mixture.share)
            return images * float(own) + partners * float(1 - own)
        mixed = images.clone()
        place = (slice(None), *mixture.window)
        mixed[place] = partners[place]
        return mixed


def _between(first: Tensor, second: Tensor, weight: Tensor) -> Tensor:
    """From the first (weight 0) to the second (256), rounded."""
    weight = weight.int()
    return ((first.int() * (256 - weight) + second.int() * weight + 128) >> 8).byte()
