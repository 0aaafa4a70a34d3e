// A class's map over the picture, as netinnet/reports/overlays.py draws it.
"use strict";

const AGAINST = [8, 48, 140], FOR = [255, 226, 60]; // the ends of the scale, told apart in grey too
const DARK = 80, LIGHT = 176; // the picture's black and white below the colours
const OPACITY = 0.9;

// One pixel: `share` is -1…1 of the scale, `grey` the picture's own 0…255.
function blended(share, grey, strength, original, to, data) {
  const end = share < 0 ? AGAINST : FOR;
  const below = DARK + ((LIGHT - DARK) / 255) * grey;
  for (let c = 0; c < 3; c++) {
    const shown = below + OPACITY * Math.abs(share) * (end[c] - below);
    data[to + c] = Math.round(original[c] + strength * (shown - original[c]));
  }
}

// For each drawn pixel along an axis: the two cells beside it and the second one's weight; null
// where the network saw nothing.
function between({ first, step, seen }, pixels, length, cells) {
  return Array.from({ length: pixels }, (_, i) => {
    const place = ((i + 0.5) * length) / pixels;
    if (place < seen[0] || place >= seen[1]) return null;
    const at = Math.min(Math.max((place - first) / step, 0), cells - 1), low = Math.floor(at);
    return [low, Math.min(low + 1, cells - 1), at - low];
  });
}

// Lays a map (rows × columns) over what a canvas shows of a picture of width × height.
function overlay(canvas, width, height, map, [rows, columns], axes, scale, strength) {
  const context = canvas.getContext("2d"), image = context.getImageData(0, 0, canvas.width, canvas.height);
  const down = between(axes[0], canvas.height, height, rows);
  const across = between(axes[1], canvas.width, width, columns);
  for (let y = 0, to = 0; y < canvas.height; y++)
    for (let x = 0; x < canvas.width; x++, to += 4) {
      const original = image.data.subarray(to, to + 3);
      const grey = 0.299 * original[0] + 0.587 * original[1] + 0.114 * original[2];
      let share = 0;
      if (down[y] && across[x]) {
        const [top, bottom, v] = down[y], [left, right, u] = across[x];
        const above = map[top * columns + left] * (1 - u) + map[top * columns + right] * u;
        const below = map[bottom * columns + left] * (1 - u) + map[bottom * columns + right] * u;
        share = Math.min(Math.max((above * (1 - v) + below * v) / (scale || 1), -1), 1);
      }
      blended(share, grey, strength, [...original], to, image.data);
    }
  context.putImageData(image, 0, 0);
}

// The bar that says which colour means what.
function drawScale(canvas) {
  const context = canvas.getContext("2d"), image = context.createImageData(canvas.width, 1);
  for (let x = 0; x < canvas.width; x++) {
    blended((2 * x) / (canvas.width - 1) - 1, 127.5, 1, [0, 0, 0], 4 * x, image.data);
    image.data[4 * x + 3] = 255;
  }
  for (let y = 0; y < canvas.height; y++) context.putImageData(image, 0, y);
}
