// The picture with its segments on a canvas.

import { fill, runsOf } from "./rle.js";

const EDGE = 0.85; // how white the border of a segment is
const DIM = 0.35; // what is left of the rest of the picture beside a segment that is shown alone
const LABELLED = 0.002; // share of the picture's area below which a segment has no label

export class View {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { willReadFrequently: true });
    this.clear();
  }

  clear() {
    this.base = null;
    this.segments = [];
  }

  // picture: what drawImage takes; segments: of the answer
  show(picture, segments, width, height) {
    this.canvas.width = width;
    this.canvas.height = height;
    this.context.drawImage(picture, 0, 0, width, height);
    this.base = this.context.getImageData(0, 0, width, height);
    this.segments = segments;
    this.runs = segments.map((one) => (one.segmentation ? runsOf(one.segmentation.counts) : null));
  }

  // Paint the segments of these numbers; alone: one of them, or null; labels: whether with names.
  paint(numbers, alone, opacity, labels) {
    if (!this.base) return;
    const { width, height, data } = this.base;
    this.owner = this.ownersOf(numbers);
    const shown = alone === null ? this.owner : this.ownersOf([alone]);
    const image = new ImageData(new Uint8ClampedArray(data), width, height);
    const out = image.data;
    const colors = this.segments.map((one) => one.color);
    const rest = alone === null ? 1 : DIM;
    for (let y = 0, at = 0; y < height; y++) {
      for (let x = 0; x < width; x++, at++) {
        const own = shown[at], place = 4 * at;
        if (!own) {
          if (rest < 1) for (let c = 0; c < 3; c++) out[place + c] *= rest;
          continue;
        }
        const isEdge = (x + 1 < width && shown[at + 1] !== own) || (y + 1 < height && shown[at + width] !== own)
          || (x > 0 && !shown[at - 1]) || (y > 0 && !shown[at - width]);
        const share = isEdge ? EDGE * Math.min(1, 2 * opacity) : opacity;
        for (let c = 0; c < 3; c++) {
          const color = isEdge ? 255 : colors[own - 1][c];
          out[place + c] = (1 - share) * data[place + c] + share * color;
        }
      }
    }
    this.context.putImageData(image, 0, 0);
    this.outlineBoxes(alone === null ? numbers : [alone]);
    if (labels) this.writeLabels(shown, alone === null ? numbers : [alone]);
  }

  // Names in the middle of what is seen of the segments.
  writeLabels(shown, numbers) {
    const { width, height } = this.base, { context } = this;
    const places = this.middles(shown);
    const size = Math.max(Math.sqrt(width * height) / 32, 8);
    context.font = `600 ${size}px system-ui, sans-serif`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.lineJoin = "round";
    context.lineWidth = size / 3.5;
    context.strokeStyle = "rgb(0 0 0 / 0.75)";
    context.fillStyle = "#ffffff";
    for (const number of numbers) {
      const one = this.segments[number], [left, top, wide, high] = one.bbox;
      if (one.area < LABELLED * width * height) continue;
      const text = one.name.length > 30 ? `${one.name.slice(0, 29)}…` : one.name;
      const half = Math.min(context.measureText(text).width / 2, width / 2);
      const [x, y] = places.get(number + 1) ?? [left + wide / 2, top + high / 2];
      const inside = [Math.min(Math.max(x, half), width - half), Math.min(Math.max(y, size / 2), height - size / 2)];
      context.strokeText(text, ...inside);
      context.fillText(text, ...inside);
    }
  }

  // owner -> x, y of the middle of its longest run in a row; about 128 rows are looked at
  middles(shown) {
    const { width, height } = this.base, longest = new Map();
    for (let y = 0; y < height; y += Math.max(1, height >> 7)) {
      for (let x = 0; x < width; ) {
        const own = shown[y * width + x], first = x;
        while (x < width && shown[y * width + x] === own) x++;
        const worth = (x - first) * (0.4 + Math.min(y, height - y) / height); // less at the border
        if (own && worth > (longest.get(own)?.[2] ?? 0)) longest.set(own, [(first + x) / 2, y, worth]);
      }
    }
    return longest;
  }

  // Of each pixel 1 + the number of its segment, the smallest where several overlap; 0: none.
  ownersOf(numbers) {
    const { width, height } = this.base;
    const owner = new Uint16Array(width * height);
    const largestFirst = [...numbers].sort((a, b) => this.segments[b].area - this.segments[a].area);
    for (const number of largestFirst) {
      if (this.runs[number]) fill(owner, width, height, this.runs[number], number + 1);
    }
    return owner;
  }

  outlineBoxes(numbers) {
    this.context.lineWidth = Math.max(2, this.canvas.width / 300);
    for (const number of numbers) {
      if (this.runs[number]) continue;
      this.context.strokeStyle = `rgb(${this.segments[number].color.join(",")})`;
      this.context.strokeRect(...this.segments[number].bbox);
    }
  }

  // The number of the segment below a mouse event, or null.
  at(event) {
    if (!this.base || !this.owner) return null;
    const frame = this.canvas.getBoundingClientRect();
    const x = Math.floor(((event.clientX - frame.left) / frame.width) * this.base.width);
    const y = Math.floor(((event.clientY - frame.top) / frame.height) * this.base.height);
    if (x < 0 || y < 0 || x >= this.base.width || y >= this.base.height) return null;
    const own = this.owner[y * this.base.width + x];
    return own ? own - 1 : null;
  }
}
