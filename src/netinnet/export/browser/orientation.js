// Which way up a WebP picture is. Browsers turn JPEG and PNG as their EXIF data say, but WebP some do
// and some don't: so the page takes the data out and turns the picture itself.
"use strict";

// The picture's file without its EXIF data, and the orientation (1 to 8) that they gave.
async function withoutTurn(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer()), view = new DataView(bytes.buffer);
  const word = (at) => String.fromCharCode(...bytes.subarray(at, at + 4));
  if (bytes.length < 12 || word(0) !== "RIFF" || word(8) !== "WEBP") return { blob, turn: 1 };
  for (let at = 12; at + 8 <= bytes.length; ) {
    const size = view.getUint32(at + 4, true);
    if (word(at) === "EXIF") {
      const turn = orientation(new DataView(bytes.buffer.slice(at + 8, at + 8 + size)));
      bytes.set([88, 88, 88, 88], at); // a chunk of an unknown name is passed over
      return { blob: new Blob([bytes], { type: "image/webp" }), turn };
    }
    at += 8 + size + (size % 2);
  }
  return { blob, turn: 1 };
}

// The orientation in EXIF data, 1 where they say none or are damaged.
function orientation(view) {
  try {
    const start = view.getUint32(0) === 0x45786966 ? 6 : 0; // "Exif" and two zeros, if at all
    const little = view.getUint16(start) === 0x4949;
    const table = start + view.getUint32(start + 4, little);
    for (let i = 0; i < view.getUint16(table, little); i++) {
      const entry = table + 2 + 12 * i;
      if (view.getUint16(entry, little) !== 0x112) continue;
      const turn = view.getUint16(entry + 8, little);
      return turn >= 1 && turn <= 8 ? turn : 1;
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // the data end too early
  }
  return 1;
}

// Where pixel (x, y) of a picture of width × height goes, as a canvas wants it.
function turned(turn, width, height) {
  return {
    1: [1, 0, 0, 1, 0, 0], 2: [-1, 0, 0, 1, width, 0],
    3: [-1, 0, 0, -1, width, height], 4: [1, 0, 0, -1, 0, height],
    5: [0, 1, 1, 0, 0, 0], 6: [0, 1, -1, 0, height, 0],
    7: [0, -1, -1, 0, height, width], 8: [0, -1, 1, 0, 0, width],
  }[turn];
}
