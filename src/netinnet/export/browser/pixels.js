// From a picture's pixels to the network's input: the arithmetic of netinnet/preprocessing.py.
"use strict";

// Where rows (or columns) of the picture go in the input: {start, length, at, size}, as `spans`.
function spans(source, target, fit) {
  const whole = (sides) => sides.map((side) => [0, side]);
  const taken = fit === "crop" ? centred(source, target) : whole(source);
  const place = fit === "pad" ? centred(target, source) : whole(target);
  return taken.map(([start, length], i) => ({ start, length, at: place[i][0], size: place[i][1] }));
}

// The largest centred part of a frame with a ratio of sides, in whole pixels.
function centred(frame, ratio) {
  return frame.map((side, i) => {
    const other = frame[1 - i], own = ratio[i], across = ratio[1 - i];
    const length = Math.floor((2 * other * own + across) / (2 * across));
    const kept = Math.min(Math.max(length, 1), side);
    return [Math.floor((side - kept) / 2), kept];
  });
}

// A triangle filter for each target pixel, as wide as the larger of the two pixels and cut off at
// the border: the first source pixel and the weights, which sum to 1.
function filters(span) {
  const scale = span.length / span.size, support = Math.max(scale, 1);
  return Array.from({ length: span.size }, (_, i) => {
    const centre = (i + 0.5) * scale - 0.5;
    const first = Math.max(0, Math.ceil(centre - support));
    const last = Math.min(span.length - 1, Math.floor(centre + support));
    const weights = [];
    for (let j = first; j <= last; j++) weights.push(Math.max(0, 1 - Math.abs(centre - j) / support));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    return { first: span.start + first, weights: weights.map((weight) => weight / total) };
  });
}

// RGBA of any size to the input: Float32Array height × width × channels. Grey is ITU-R 601's luma,
// rounded to whole values as everywhere in netinnet.
function prepare(rgba, width, height, input, preprocessing) {
  const [channels, rows, columns] = input;
  const { mean, std, fit } = preprocessing;
  const [down, across] = spans([height, width], [rows, columns], fit);
  const downs = filters(down), acrosses = filters(across);
  const result = new Float32Array(rows * columns * channels);
  const line = new Float64Array(across.size * channels); // one row of the picture, resized
  const sums = new Float64Array(down.size * across.size * channels);
  const values = new Float64Array(width * channels);
  let begin = 0; // target rows before it are done with
  for (let y = down.start; y < down.start + down.length; y++) {
    for (let x = 0, at = 4 * y * width, to = 0; x < width; x++, at += 4) {
      if (channels === 1) {
        const luma = 19595 * rgba[at] + 38470 * rgba[at + 1] + 7471 * rgba[at + 2];
        values[to++] = (luma + 0x8000) >> 16;
      } else for (let c = 0; c < 3; c++) values[to++] = rgba[at + c];
    }
    acrosses.forEach(({ first, weights }, i) => {
      for (let c = 0; c < channels; c++) {
        let sum = 0;
        for (let j = 0, at = first * channels + c; j < weights.length; j++, at += channels)
          sum += weights[j] * values[at];
        line[i * channels + c] = sum;
      }
    });
    while (begin < downs.length && downs[begin].first + downs[begin].weights.length <= y) begin++;
    for (let i = begin; i < downs.length && downs[i].first <= y; i++) {
      const weight = downs[i].weights[y - downs[i].first], to = i * line.length;
      if (weight) for (let j = 0; j < line.length; j++) sums[to + j] += weight * line[j];
    }
  }
  // Normalised at the end: what is outside of a padded picture stays 0.
  for (let i = 0; i < down.size; i++)
    for (let j = 0; j < across.size; j++)
      for (let c = 0; c < channels; c++) {
        const k = mean.length > 1 ? c : 0;
        const value = sums[(i * across.size + j) * channels + c] / 255;
        result[((down.at + i) * columns + across.at + j) * channels + c] = (value - mean[k]) / std[k];
      }
  return result;
}
