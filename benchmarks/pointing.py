"""Where a network saw an object, against where it is: class maps beside Grad-CAM and HiResCAM.

Pictures of 48×48 are made with one of five shapes, 12 to 18 pixels large, anywhere on a noisy
ground among short strokes that belong to no class; nin-small learns them. A method points right
where its peak is inside the object's box. Grad-CAM and HiResCAM are written here in a few lines
(`tests/test_explain.py` compares them with class maps where they must be equal). A map is laid
over the picture with its cells at their receptive fields' centres, as `nin explain` does it, and
once more resized from edge to edge, as libraries do it.

    python benchmarks/pointing.py --seeds 3               # about 10 minutes; needs PyTorch
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

SIZE = 48
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


def peaks(maps: np.ndarray, axes: Any) -> np.ndarray:
    """n×2 (x, y) of the peaks of n maps whose cells lie on these axes (rows, columns)."""
    cells = [np.unravel_index(np.argmax(one), one.shape) for one in maps]
    return np.array([(axes[1].centre(column), axes[0].centre(row)) for row, column in cells])


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
    own = results["class_maps"][np.arange(count), labels]
    explained = [
        explanation.explain(predictor, image, [SHAPES[label]]).classes[0]
        for image, label in zip(images, labels, strict=True)
    ]
    rows = {
        "accuracy": float(np.mean(results["logits"].argmax(1) == labels)),
        "class maps": hits(np.array([e.peak for e in explained]), boxes),
        "class maps, edge to edge": hits(stretched(own), boxes),
        "overlap of the box": float(np.mean(overlap(np.array([e.box for e in explained]), boxes))),
        "ms a picture, class maps": 1000 * seconds / count,
    }
    net = netinnet.load(folder, framework="pytorch").eval()
    prepared = prepare(images, network.input, network.preprocessing).transpose(0, 3, 1, 2)
    x, classes = torch.from_numpy(np.ascontiguousarray(prepared)), torch.from_numpy(labels)
    for layer in ("block2", "pool2"):
        began = time.perf_counter()
        for method, maps in gradient_maps(net, layer, x, classes).items():
            # nin-small pools by 3×3 windows around every second pixel, the first one's included.
            axis = explanation.Axis(0.5, SIZE / maps.shape[1], SIZE)
            rows[f"{method}, {layer}"] = hits(peaks(maps, (axis, axis)), boxes)
            rows[f"{method}, {layer}, edge to edge"] = hits(stretched(maps), boxes)
        rows[f"ms a picture, gradient, {layer}"] = 1000 * (time.perf_counter() - began) / count
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    seeds = parser.parse_args().seeds
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(seeds):
            began = time.perf_counter()
            train(Path(folder) / str(seed), seed)
            print(f"seed {seed}: trained in {time.perf_counter() - began:.0f} s", file=sys.stderr)
            results.append(measure(Path(folder) / str(seed), seed))
    for name in results[0]:
        values = [result[name] for result in results]
        spread = f" ± {statistics.stdev(values):.3f}" if seeds > 1 else ""
        print(f"{name:<40} {statistics.mean(values):.3f}{spread}")


if __name__ == "__main__":
    main()
