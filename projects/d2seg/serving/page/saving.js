// What can be downloaded: the drawing, COCO's formats, and all pictures of a batch.

import { zip } from "./zip.js";

export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

export const asJson = (content) => new Blob([JSON.stringify(content, null, 1)], { type: "application/json" });

export const stemOf = (name) => name.replace(/\.[^.]*$/, "") || "picture";

// Of its class in the data set; an expression has none and gets the next number.
function idOf(names, one) {
  if (one.category_id !== undefined) {
    names.set(one.category_id, one.name);
    return one.category_id;
  }
  for (const [id, name] of names) if (name === one.name) return id;
  names.set(names.size + 1, one.name);
  return names.size;
}

// results: [{answer, segments}], the latter those that are shown
export function cocoOf(results, about) {
  const names = new Map();
  const images = [], annotations = [];
  results.forEach(({ answer, segments }, place) => {
    images.push({ id: place + 1, file_name: answer.name, width: answer.width, height: answer.height });
    for (const one of segments) {
      const id = idOf(names, one);
      const entry = { id: annotations.length + 1, image_id: place + 1, category_id: id, bbox: one.bbox, area: one.area, iscrowd: 0 };
      if (one.segmentation) entry.segmentation = one.segmentation;
      if (one.score !== null) entry.score = one.score;
      annotations.push(entry);
    }
  });
  const categories = [...names].map(([id, name]) => ({ id, name }));
  return { info: { description: `d2seg serve: ${about.method}, ${about.weights}` }, images, annotations, categories };
}

export function rleOf({ answer, segments }) {
  const masks = segments.filter((one) => one.segmentation);
  return {
    file_name: answer.name, size: [answer.height, answer.width],
    segments: masks.map(({ name, score, area, segmentation }) => ({ name, score, area, counts: segmentation.counts })),
  };
}

// drawings: [{name, blob}]; failures: lines
export async function zipOf(drawings, coco, failures) {
  const taken = new Set(), files = [];
  const add = (name, bytes) => {
    let free = name;
    for (let number = 2; taken.has(free); number++) free = name.replace(/(\.[^.]*)?$/, `_${number}$1`);
    taken.add(free);
    files.push({ name: free, bytes });
  };
  for (const { name, blob } of drawings) {
    const safe = stemOf(name).replace(/[\\/:*?"<>|\u0000-\u001f]/g, "_").replace(/^\.+/, "_");
    add(`${safe}.png`, new Uint8Array(await blob.arrayBuffer()));
  }
  add("coco.json", new Uint8Array(await asJson(coco).arrayBuffer()));
  if (failures.length) add("failures.txt", new TextEncoder().encode(failures.join("\n") + "\n"));
  return zip(files);
}
