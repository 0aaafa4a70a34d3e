// Where pictures come from. Each source calls show(picture): a canvas with the picture's own pixels.
"use strict";

const LARGEST_SIDE = 16384; // of a canvas, in every browser that has one so large

// A canvas of pixels exactly as they are in the file: no colour management, EXIF's orientation
// applied, over white where the picture is transparent. The browser resizes nothing.
async function decoded(blob) {
  const options = { colorSpaceConversion: "none", imageOrientation: "from-image", premultiplyAlpha: "none" };
  const { blob: upright, turn } = await withoutTurn(blob);
  const bitmap = await createImageBitmap(upright, options);
  const [width, height] = turn < 5 ? [bitmap.width, bitmap.height] : [bitmap.height, bitmap.width];
  const canvas = width <= LARGEST_SIDE && height <= LARGEST_SIDE ? blank(width, height, "#fff") : null;
  if (!canvas) throw Object.assign(new Error("too large"), { width, height });
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false; // pixels are moved, not mixed
  context.setTransform(...turned(turn, bitmap.width, bitmap.height));
  context.drawImage(bitmap, 0, 0);
  context.resetTransform();
  bitmap.close();
  return canvas;
}

// A canvas of one colour, null where the browser has no memory for it.
function blank(width, height, colour) {
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true, colorSpace: "srgb" });
  context.fillStyle = colour;
  context.fillRect(0, 0, width, height);
  return context.getImageData(0, 0, 1, 1).data[3] === 255 ? canvas : null;
}

// Files: chosen, dropped anywhere on the page, or pasted.
function filesFrom(show, stage, problem) {
  const input = document.getElementById("file");
  const read = async ([file, ...others]) => {
    if (!file) return problem("noFile");
    try {
      show(await decoded(file), { blob: file });
      if (others.length) problem("several", { count: others.length + 1 });
    } catch (error) {
      problem(error.width ? "large" : "unreadable", { name: file.name || "?", ...error });
    }
  };
  const choose = () => input.click();
  document.getElementById("choose").onclick = choose;
  stage.onclick = () => stage.classList.contains("empty") && choose();
  input.onchange = () => {
    read(input.files);
    input.value = ""; // so that the same file can be chosen again
  };
  let depth = 0;
  const mark = (change) => stage.classList.toggle("over", (depth = Math.max(0, depth + change)) > 0);
  addEventListener("dragenter", (event) => { event.preventDefault(); mark(1); });
  addEventListener("dragleave", () => mark(-1));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    mark(-depth);
    read(event.dataTransfer.files);
  });
  addEventListener("paste", (event) => {
    const files = [...event.clipboardData.files], images = files.filter(({ type }) => type.startsWith("image/"));
    read(images.length ? images : files); // of what is no picture its name is said
  });
  return read;
}

// Pictures that came with the page, as data: addresses.
function examplesFrom(examples, read) {
  const row = document.getElementById("examples");
  row.hidden = !examples.length;
  examples.forEach(({ type, data }, i) => {
    const button = document.createElement("button"), image = document.createElement("img");
    const blob = new Blob([bytesOf(data)], { type });
    image.src = URL.createObjectURL(blob);
    image.alt = "";
    button.type = "button";
    button.dataset.number = i + 1;
    button.append(image);
    button.onclick = () => read([blob]);
    row.append(button);
  });
}

// Drawing with mouse, finger or pen on paper like the training pictures: dark where those are.
function drawing(show, canvas, stage, model, stop) {
  const side = 280, isDark = model.preprocessing.mean[0] < 0.5 && model.input[0] === 1;
  const [paper, ink] = isDark ? ["#000", "#ffffff"] : ["#fff", "#000000"];
  const button = document.getElementById("draw"), clear = document.getElementById("clear");
  const colour = document.getElementById("colour"), label = document.getElementById("ink");
  let sheet = null, last = null;
  colour.value = ink;
  const place = ({ clientX, clientY }) => {
    const box = canvas.getBoundingClientRect(), size = Math.min(box.width, box.height);
    const x = clientX - box.left - (box.width - size) / 2, y = clientY - box.top - (box.height - size) / 2;
    return [(x * side) / size, (y * side) / size];
  };
  const stroke = (event) => {
    const context = sheet.getContext("2d"), [x, y] = place(event);
    Object.assign(context, { lineWidth: side / 14, lineCap: "round", strokeStyle: colour.value });
    context.beginPath();
    context.moveTo(...(last ?? [x, y]));
    context.lineTo(x, y);
    context.stroke();
    last = [x, y];
    show(sheet, { isDrawing: true });
  };
  const fresh = () => show((sheet = blank(side, side, paper)), { isDrawing: true });
  canvas.onpointerdown = (event) => {
    if (!sheet) return;
    canvas.setPointerCapture(event.pointerId);
    last = null;
    stroke(event);
  };
  canvas.onpointermove = (event) => sheet && last && stroke(event);
  canvas.onpointerup = canvas.onpointercancel = () => (last = null);
  clear.onclick = fresh;
  const set = (is) => {
    button.setAttribute("aria-pressed", is);
    stage.classList.toggle("drawing", is);
    clear.hidden = !is;
    label.hidden = !is || model.input[0] === 1;
    if (!is) sheet = last = null;
  };
  button.onclick = () => {
    const starts = !sheet;
    stop();
    set(starts);
    if (starts) fresh();
  };
  return () => set(false);
}

// The camera, answered as fast as answers come; pressing again keeps the last picture.
function camera(show, problem, stop) {
  const button = document.getElementById("camera");
  button.hidden = !(navigator.mediaDevices && navigator.mediaDevices.getUserMedia);
  let stream = null, turn = 0;
  const off = (ended) => ended.getTracks().forEach((track) => track.stop());
  const end = () => {
    turn += 1; // a stream that comes later, when it is allowed, is not wanted any more
    if (stream) off(stream);
    stream = null;
    button.setAttribute("aria-pressed", "false");
  };
  button.onclick = async () => {
    if (stream) return end();
    stop();
    end();
    problem(null);
    const own = turn, video = document.createElement("video");
    try {
      const allowed = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: 640 } });
      if (turn !== own) return off(allowed);
      stream = allowed;
      button.setAttribute("aria-pressed", "true");
      Object.assign(video, { srcObject: stream, muted: true, playsInline: true });
      await video.play();
    } catch (error) {
      if (turn !== own) return;
      end();
      return problem("noCamera", { reason: error.message || error.name });
    }
    while (turn === own) {
      const frame = blank(video.videoWidth, video.videoHeight, "#fff");
      frame.getContext("2d").drawImage(video, 0, 0);
      await show(frame, { isLive: true });
      await new Promise(requestAnimationFrame);
    }
  };
  return end;
}
