// A class's map over the picture, as netinnet/reports/overlays.py draws it.
"use strict";

const AGAINST = [8, 48, 140], FOR = [255, 226, 60]; // the ends of the scale, told apart in grey too
const DARK = 80, LIGHT = 176; // the picture's black and white below the colours
const OPACITY = 0.9;

// The colour of a share (-1…1 of the scale) over a grey (0…255), of channel c.
function colour(share, grey, c) {
  const end = share < 0 ? AGAINST[c] : FOR[c], below = DARK + ((LIGHT - DARK) / 255) * grey;
  return below + OPACITY * Math.abs(share) * (end - below);
}

// For each drawn pixel along an axis: the cell before it and the next one's weight; -1 where the
// network saw nothing.
function between({ first, step, seen }, pixels, length, cells) {
  const lows = new Int32Array(pixels), weights = new Float64Array(pixels);
  for (let i = 0; i < pixels; i++) {
    const place = ((i + 0.5) * length) / pixels;
    const at = Math.min(Math.max((place - first) / step, 0), cells - 1);
    lows[i] = place < seen[0] || place >= seen[1] ? -1 : Math.min(Math.floor(at), Math.max(0, cells - 2));
    weights[i] = cells > 1 ? at - lows[i] : 0;
  }
  return [lows, weights];
}

// Lays a map (rows × columns) over what a canvas shows of a picture of width × height.
function overlay(canvas, width, height, map, [rows, columns], axes, scale, strength) {
  const context = canvas.getContext("2d"), image = context.getImageData(0, 0, canvas.width, canvas.height);
  const { data } = image;
  const [tops, downs] = between(axes[0], canvas.height, height, rows);
  const [lefts, acrosses] = between(axes[1], canvas.width, width, columns);
  const line = new Float64Array(columns + 1); // the map along one row of pixels
  for (let y = 0, to = 0; y < canvas.height; y++) {
    const top = tops[y] * columns, bottom = top + (rows > 1 ? columns : 0);
    for (let j = 0; j < columns && top >= 0; j++)
      line[j] = (map[top + j] * (1 - downs[y]) + map[bottom + j] * downs[y]) / (scale || 1);
    for (let x = 0; x < canvas.width; x++, to += 4) {
      const left = lefts[x];
      const grey = 0.299 * data[to] + 0.587 * data[to + 1] + 0.114 * data[to + 2];
      const value = left < 0 || top < 0 ? 0 : line[left] * (1 - acrosses[x]) + line[left + 1] * acrosses[x];
      const share = Math.min(Math.max(value, -1), 1);
      for (let c = 0; c < 3; c++)
        data[to + c] += Math.round(strength * (colour(share, grey, c) - data[to + c]));
    }
  }
  context.putImageData(image, 0, 0);
}

// The bar that says which colour means what.
function drawScale(bar) {
  const ends = [-1, 0, 1].map((share) => `rgb(${[0, 1, 2].map((c) => colour(share, 127.5, c))})`);
  bar.style.background = `linear-gradient(90deg, ${ends})`;
}
