"use strict";
// Sorting and filtering of tables, galleries that decode a picture when it comes into sight, and
// curves of a chosen class. Without scripts the tables and plots are there all the same.
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  const keyOf = (cell) => {
    if (cell.dataset.value !== undefined) return Number(cell.dataset.value);
    const text = cell.textContent.trim();
    return text === "–" || text === "" ? null : text;
  };
  const compare = (a, b, sign) => {
    if (a === null || b === null) return (a === null) - (b === null); // the undefined last
    if (typeof a === "number" && typeof b === "number") return sign * (a - b);
    return sign * String(a).localeCompare(String(b), undefined, { numeric: true });
  };
  for (const table of all("table[data-sortable]")) {
    const heads = all("thead th", table);
    heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
      const now = head.getAttribute("aria-sort");
      // numbers begin with the largest, names with the first of the alphabet
      const first = column === 0 ? "ascending" : "descending";
      const other = first === "ascending" ? "descending" : "ascending";
      const order = now === first ? other : first;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      const body = table.tBodies[0];
      const sign = order === "ascending" ? 1 : -1;
      [...body.rows]
        .map((row) => [keyOf(row.cells[column]), row])
        .sort((a, b) => compare(a[0], b[0], sign))
        .forEach(([, row]) => body.append(row));
    }));
  }

  for (const field of all("[data-filter-rows]")) {
    field.addEventListener("input", () => {
      const wanted = field.value.toLowerCase();
      for (const row of all("tbody tr", document.getElementById(field.dataset.filterRows))) {
        row.hidden = !row.textContent.toLowerCase().includes(wanted);
      }
    });
  }

  for (const choice of all("[data-filter-items]")) {
    const gallery = document.getElementById(choice.dataset.filterItems);
    const items = all("[data-classes]", gallery);
    const status = gallery.querySelector("[data-shown]");
    const show = () => {
      const wanted = choice.value;
      for (const item of items) item.hidden = wanted !== "" && !item.dataset.classes.includes(` ${wanted} `);
      status.textContent = `${items.filter((item) => !item.hidden).length} of ${items.length}`;
    };
    choice.addEventListener("change", show);
    show();
  }

  const load = (image) => {
    if (image.dataset.src) { image.src = image.dataset.src; image.removeAttribute("data-src"); }
  };
  const images = all("img[data-src]");
  const watch = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) { load(entry.target); watch.unobserve(entry.target); }
  }, { rootMargin: "400px" });
  images.forEach((image) => watch.observe(image));
  window.addEventListener("beforeprint", () => images.forEach(load));

  const zoom = document.getElementById("zoom");
  for (const button of all("[data-zoom]")) {
    button.addEventListener("click", () => {
      const image = button.querySelector("img");
      load(image);
      const shown = zoom.querySelector("img");
      shown.src = image.src;
      shown.alt = image.alt;
      zoom.querySelector("p").textContent = image.alt;
      zoom.showModal();
    });
  }

  const SVG = "http://www.w3.org/2000/svg";
  const COLORS = ["#0b57a4", "#b3420b", "#2c7a3f", "#7b3f98", "#8a6d00", "#b0246b", "#4d5b66", "#006d77", "#5b3a1e", "#1b1f24"];
  const make = (parent, name, attributes, text) => {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    parent.append(element);
    return element;
  };
  const BOX = { left: 52, top: 10, width: 400, height: 220 };
  const draw = (holder, data, number) => {
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", "0 0 620 280");
    svg.setAttribute("class", "plot");
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", `${data.y_label} over ${data.x_label}, ${data.classes[number]}`);
    const values = data.y[number];
    // bars are stacked: the tallest pile sets the height
    const piles = data.kind === "bars" ? values[0].map((_, bin) => values.reduce((sum, one) => sum + one[bin], 0)) : [];
    const top = data.kind === "bars" ? Math.max(1, ...piles) : 1;
    const [low, high] = [data.x[0], data.x[data.x.length - 1]];
    const x = (value) => BOX.left + BOX.width * (value - low) / (high - low);
    const y = (value) => BOX.top + BOX.height * (1 - value / top);
    const small = { "font-size": 11, fill: "#1b1f24" };
    for (let tick = 0; tick <= 4; tick += 1) {
      const height = y(top * tick / 4);
      make(svg, "line", { x1: BOX.left, x2: BOX.left + BOX.width, y1: height, y2: height, stroke: "#d8dee4" });
      const text = data.kind === "bars" ? Math.round(top * tick / 4) : (tick / 4).toFixed(2);
      make(svg, "text", { x: BOX.left - 6, y: height + 4, "text-anchor": "end", ...small }, text);
      const at = low + (high - low) * tick / 4;
      make(svg, "text", { x: x(at), y: BOX.top + BOX.height + 16, "text-anchor": "middle", ...small }, at.toFixed(2));
    }
    make(svg, "text", { x: BOX.left + BOX.width / 2, y: BOX.top + BOX.height + 34, "text-anchor": "middle", ...small }, data.x_label);
    make(svg, "text", { x: 12, y: BOX.top + BOX.height / 2, "text-anchor": "middle", transform: `rotate(-90 12 ${BOX.top + BOX.height / 2})`, ...small }, data.y_label);
    values.forEach((series, i) => {
      const color = COLORS[i % COLORS.length];
      if (data.kind === "bars") {
        const width = BOX.width / series.length;
        const below = series.map((_, bin) => values.slice(0, i).reduce((sum, other) => sum + other[bin], 0));
        series.forEach((value, bin) => make(svg, "rect", {
          x: BOX.left + bin * width + 1, width: Math.max(1, width - 2), y: y(below[bin] + value),
          height: Math.max(0, y(below[bin]) - y(below[bin] + value)), fill: color,
        }));
      } else {
        const points = series.map((value, j) => value === null ? null : `${x(data.x[j]).toFixed(1)},${y(value).toFixed(1)}`);
        make(svg, "polyline", { points: points.filter((point) => point !== null).join(" "), fill: "none", stroke: color, "stroke-width": 1.8 });
      }
      const line = BOX.top + 8 + 20 * i;
      make(svg, "rect", { x: 468, y: line - 5, width: 14, height: 8, fill: color });
      make(svg, "text", { x: 488, y: line + 3, ...small }, data.series[i]);
    });
    holder.replaceChildren(svg);
  };
  for (const choice of all("[data-chart]")) {
    const chart = document.getElementById(choice.dataset.chart);
    const data = JSON.parse(chart.querySelector("script").textContent);
    const show = () => {
      const number = Number(choice.value);
      draw(chart.querySelector(".drawing"), data, number);
      chart.querySelector("p.note").textContent = data.note[number];
    };
    choice.addEventListener("change", show);
    show();
  }
})();
