// COCO's compressed run lengths: columns first, runs of zeros and ones in turn, each but the first
// three as a difference to the one two before it, in letters of five bits.

export function runsOf(counts) {
  const runs = [];
  for (let place = 0; place < counts.length; ) {
    let value = 0, shift = 0, letter;
    do {
      letter = counts.charCodeAt(place++) - 48;
      value |= (letter & 31) << shift;
      shift += 5;
    } while (letter & 32);
    if (letter & 16 && shift < 32) value |= -1 << shift;
    if (runs.length > 2) value += runs[runs.length - 2];
    runs.push(value);
  }
  return runs;
}

// Set owner (height x width, rows first) to value where the mask is.
export function fill(owner, width, height, runs, value) {
  let x = 0, y = 0;
  for (let i = 0; i < runs.length; i++) {
    let left = runs[i];
    while (left > 0) {
      const step = Math.min(left, height - y);
      if (i % 2) {
        for (let at = y * width + x, end = at + step * width; at < end; at += width) owner[at] = value;
      }
      y += step;
      left -= step;
      if (y === height) { y = 0; x++; }
    }
  }
}
