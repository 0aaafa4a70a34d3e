"""How far a class map's mean is from its logit, on 1,000 pictures, in every engine there is.

The shipped model on Fashion-MNIST's first test pictures. Means are taken in float64; the distance
is that of the worst of all 10,000 maps, over the largest logit's size. The last figures say how
alike maps are to those of a model whose weights, all or the last block's, are drawn anew.

    python benchmarks/map_means.py                        # MXNet: in its own environment
"""

from __future__ import annotations

import argparse

import numpy as np

import netinnet
from netinnet import frameworks, weights
from netinnet.data import datasets
from netinnet.inference import class_maps, oracle
from netinnet.preprocessing import prepare


def worst(maps: np.ndarray, logits: np.ndarray) -> float:
    means = maps.astype(np.float64).mean((2, 3))
    return float(np.abs(means - logits).max() / np.abs(logits).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    count = parser.parse_args().count
    model, data = netinnet.load(), datasets.load("fashion-mnist")
    network, pictures = model.network, data.splits["test"].pictures(np.arange(count))
    maps = class_maps.of(network)
    assert maps is not None
    x = prepare(pictures, network.input, network.preprocessing).transpose(0, 3, 1, 2)
    parts = np.array_split(x, max(1, count // 50))
    headless = class_maps.features(network, maps)
    values = np.concatenate([oracle.logits(headless, model.weights, part) for part in parts])
    logits = np.concatenate([oracle.logits(network, model.weights, part) for part in parts])
    print(f"{'NumPy':<12} {worst(values.reshape(count, *maps.input), logits):.1e}")
    for framework, known in ((None, None), *frameworks.FRAMEWORKS.items()):
        if known is None or known.is_installed:
            predictor = netinnet.Predictor(model, framework=framework)
            results = predictor.run(pictures, ("logits", "class_maps"))
            figure = worst(results["class_maps"], results["logits"])
            print(f"{known.title if known else 'ONNX Runtime':<12} {figure:.1e}", flush=True)
    learnt = netinnet.Predictor(model).class_maps(pictures)
    drawn = weights.initial(network, 0)
    last = {name: value for name, value in drawn.items() if name.startswith("block3.")}
    for name, tensors in (("all weights", drawn), ("the last block", {**model.weights, **last})):
        other = netinnet.Predictor(weights.Model(network, tensors)).class_maps(pictures)
        cells = learnt[0, 0].size
        pairs = zip(learnt.reshape(-1, cells), other.reshape(-1, cells), strict=True)
        likeness = np.mean([abs(np.corrcoef(a, b)[0, 1]) for a, b in pairs])
        print(f"correlation with {name} drawn anew: {likeness:.2f}")


if __name__ == "__main__":
    main()
