"""Where a network saw an object, against where it is: class maps beside Grad-CAM and HiResCAM.

Pictures of 48×48 are made with one of five shapes, 12 to 18 pixels large, anywhere on a noisy
ground among short strokes that belong to no class; nin-small learns them. A method points right
where its peak, or the centre of the box around it (`netinnet.explain`'s rule, for all methods), is
inside the object's box. Grad-CAM and HiResCAM are written here in a few lines and compared with the
package grad-cam where that is installed. A map is laid over the picture with its cells at their
receptive fields' centres, as `nin explain` does it, and once more resized from edge to edge, as
libraries do it.

    python benchmarks/pointing.py --seeds 3               # about 10 minutes; needs PyTorch
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

SIZE = 48
"""Pixels a side, as many in the pictures as in the network's input."""
SHAPES = ("disc", "square", "triangle", "plus", "ring")


def scenes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pictures (n×48×48), labels, and boxes (left, top, right, bottom; the end exclusive)."""
    rng = np.random.default_rng(seed)
    images = rng.normal(128, 20, (count, SIZE, SIZE))
    labels, boxes = rng.integers(len(SHAPES), size=count), np.empty((count, 4), int)
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    for i, label in enumerate(labels):
        for _ in range(4):  # strokes
            y, x = rng.integers(0, SIZE - 8, 2)
            down, across = (2, 8) if rng.random() < 0.5 else (8, 2)
            images[i, y : y + down, x : x + across] += rng.choice((-60, 60))
        side = rng.integers(12, 19)
        left, top = rng.integers(0, SIZE - side + 1, 2)
        u, v = (columns - left) / side * 2 - 1, (rows - top) / side * 2 - 1
        inside = (np.abs(u) < 1) & (np.abs(v) < 1)
        distance = np.hypot(u, v)
        shape = {
            "disc": distance < 1,
            "square": inside,
            "triangle": inside & (np.abs(u) < (v + 1) / 2),
            "plus": inside & ((np.abs(u) < 0.35) | (np.abs(v) < 0.35)),
            "ring": (distance < 1) & (distance > 0.55),
        }[SHAPES[label]]
        images[i][shape] += rng.choice((-70, 70))
        boxes[i] = left, top, left + side, top + side
    return np.clip(images, 0, 255).astype(np.uint8), labels, boxes


def gradient_maps(net: Any, layer: str, x: Any, classes: Any) -> dict[str, np.ndarray]:
    """Grad-CAM and HiResCAM of a layer (n×rows×columns), before the ReLU and any resizing."""
    import torch

    kept: list[Any] = []
    hook = net.get_submodule(layer).register_forward_hook(lambda *values: kept.append(values[2]))
    logits = net(x)
    hook.remove()
    (gradient,) = torch.autograd.grad(logits.gather(1, classes[:, None]).sum(), kept)
    features = kept[0].detach()
    maps = {
        "Grad-CAM": (gradient.mean((2, 3), keepdim=True) * features).sum(1),
        "HiResCAM": (gradient * features).sum(1),
    }
    return {name: values.numpy() for name, values in maps.items()}


def places(maps: np.ndarray, axes: Any) -> tuple[np.ndarray, np.ndarray]:
    """Peaks (n×2: x, y) and boxes (n×4) of n maps whose cells lie on these axes."""
    from netinnet.inference import explanation

    pairs = [explanation.peak_and_box(one, *axes) for one in maps]
    peaks, boxes = zip(*pairs, strict=True)
    return np.array(peaks), np.array(boxes)


def library_difference(net: Any, layer: str, x: Any, classes: Any) -> float:
    """The greatest difference of `gradient_maps` from the package grad-cam's, scaled to 0…1."""
    import cv2
    import pytorch_grad_cam as library
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    targets = [ClassifierOutputTarget(int(label)) for label in classes]
    differences = []
    kinds = {"Grad-CAM": library.GradCAM, "HiResCAM": library.HiResCAM}
    for method, maps in gradient_maps(net, layer, x, classes).items():
        theirs = kinds[method](net, [net.get_submodule(layer)])(x, targets)
        for ours, their in zip(maps, theirs, strict=True):
            values = np.maximum(ours, 0)
            for size in (None, (SIZE, SIZE)):  # it scales before and after it resizes
                values = values if size is None else cv2.resize(values, size)
                values = (values - values.min()) / (1e-7 + np.ptp(values))
            differences.append(np.abs(values - their).max())
    return float(max(differences))


def stretched(maps: np.ndarray) -> np.ndarray:
    """Peaks of maps that are resized to the picture, bilinearly and from edge to edge."""
    import torch

    up = torch.nn.functional.interpolate(
        torch.from_numpy(maps)[:, None], (SIZE, SIZE), mode="bilinear", align_corners=False
    )[:, 0].numpy()
    cells = [np.unravel_index(np.argmax(one), one.shape) for one in up]
    return np.array([(column + 0.5, row + 0.5) for row, column in cells])


def hits(places: np.ndarray, boxes: np.ndarray) -> float:
    left, top, right, bottom = boxes.T
    x, y = places.T
    return float(np.mean((left <= x) & (x < right) & (top <= y) & (y < bottom)))


def overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes."""
    sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    common = np.maximum(sides, 0).prod(1)
    return common / ((a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - common)


def train(folder: Path, seed: int, pictures: int = 4000, epochs: int = 4) -> Any:
    """nin-small that has learnt the shapes; returns the run."""
    import netinnet
    from netinnet import data

    images, labels, _ = scenes(pictures, 1000 + seed)
    dataset = data.from_arrays(
        "shapes", (images, labels), scenes(200, 2000 + seed)[:2], classes=SHAPES
    )
    return netinnet.train(
        "fashion", dataset=dataset, output=folder, seed=seed, epochs=epochs, image_size=SIZE
    )


def measure(folder: Path, seed: int, count: int = 1000) -> dict[str, float]:
    """Hits of each method on new pictures, aimed at the true class; the overlap of the box."""
    import torch

    import netinnet
    from netinnet.inference import explanation
    from netinnet.preprocessing import prepare

    images, labels, boxes = scenes(count, 3000 + seed)
    images = images[..., None]
    predictor = netinnet.Predictor(folder)
    network = predictor.network
    began = time.perf_counter()
    results = predictor.run(images, ("logits", "class_maps"))
    seconds = time.perf_counter() - began
    rows = {"accuracy": float(np.mean(results["logits"].argmax(1) == labels))}

    def judge(name: str, maps: np.ndarray, axes: Any) -> None:
        peaks, found = places(maps, axes)
        centres = (found[:, :2] + found[:, 2:]) / 2
        rows[f"{name}: peak"] = hits(peaks, boxes)
        rows[f"{name}: peak, edge to edge"] = hits(stretched(maps), boxes)
        rows[f"{name}: centre of the box"] = hits(centres, boxes)
        rows[f"{name}: overlap of the box"] = float(np.mean(overlap(found, boxes)))

    axes = explanation.axes(network, SIZE, SIZE)
    judge("class maps", results["class_maps"][np.arange(count), labels], axes)
    net = netinnet.load(folder, framework="pytorch").eval()
    prepared = prepare(images, network.input, network.preprocessing).transpose(0, 3, 1, 2)
    x, classes = torch.from_numpy(np.ascontiguousarray(prepared)), torch.from_numpy(labels)
    began = time.perf_counter()
    with torch.no_grad():
        net(x)
    rows["ms a picture: PyTorch, forward"] = 1000 * (time.perf_counter() - began) / count
    rows["ms a picture: onnxruntime, logits and class maps"] = 1000 * seconds / count
    for layer in ("block2", "pool2"):
        if importlib.util.find_spec("pytorch_grad_cam"):
            name = f"greatest difference from the package grad-cam, {layer}"
            rows[name] = library_difference(net, layer, x[:40], classes[:40])
        began = time.perf_counter()
        computed = gradient_maps(net, layer, x, classes)
        name = f"ms a picture: PyTorch, forward and gradient at {layer}"
        rows[name] = 1000 * (time.perf_counter() - began) / count
        for method, maps in computed.items():
            # nin-small pools by 3×3 windows around every second pixel, the first one's included.
            axis = explanation.Axis(0.5, SIZE / maps.shape[1], SIZE, (0, SIZE))
            judge(f"{method} at {layer}", maps, (axis, axis))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--runs", type=Path, help="folder that keeps the trained networks")
    options = parser.parse_args()
    seeds = options.seeds
    results = []
    with tempfile.TemporaryDirectory() as temporary:
        for seed in range(seeds):
            folder = (options.runs or Path(temporary)) / str(seed)
            if not (folder / "metrics.json").is_file():
                train(folder, seed)
            print(f"seed {seed}", file=sys.stderr)
            results.append(measure(folder, seed))
    for name in results[0]:
        values = [result[name] for result in results]
        spread = f" ± {statistics.stdev(values):.3g}" if seeds > 1 else ""
        print(f"{name:<56} {statistics.mean(values):.3g}{spread}")


if __name__ == "__main__":
    main()
