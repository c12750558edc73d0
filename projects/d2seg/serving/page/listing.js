// The table of segments, and the boxes to tick of their classes.

const $ = (id) => document.getElementById(id);

export const percent = (share) => `${(100 * share).toFixed(share && share < 0.0995 ? 1 : 0)} %`;

function swatch(color) {
  const element = document.createElement("span");
  element.className = "swatch";
  element.style.background = `rgb(${color.join(",")})`;
  return element;
}

export class Table {
  // onChoose(number): a segment was clicked
  constructor(onChoose) {
    this.onChoose = onChoose;
    this.key = null; // null: the order of the answer
    this.isDescending = false;
    for (const button of document.querySelectorAll("thead button")) {
      button.addEventListener("click", () => this.sortBy(button.dataset.key));
    }
  }

  sortBy(key) {
    this.isDescending = this.key === key ? !this.isDescending : key !== "name";
    this.key = key;
    for (const button of document.querySelectorAll("thead button")) {
      const order = this.isDescending ? "descending" : "ascending";
      if (button.dataset.key === key) button.parentElement.setAttribute("aria-sort", order);
      else button.parentElement.removeAttribute("aria-sort");
    }
    this.show(this.answer, this.numbers, this.alone);
  }

  show(answer, numbers, alone) {
    Object.assign(this, { answer, numbers, alone });
    const focused = document.activeElement?.closest?.("#rows tr")?.dataset.number;
    const rows = this.sorted().map((number) => this.row(number));
    $("rows").replaceChildren(...rows);
    $("table").hidden = !rows.length;
    if (focused !== undefined) {
      rows.find((row) => row.dataset.number === focused)?.querySelector("button").focus();
    }
  }

  sorted() {
    const { key, answer } = this;
    if (key === null) return this.numbers;
    const sign = this.isDescending ? -1 : 1;
    const compare = (a, b) => (key === "name" ? a.name.localeCompare(b.name) : (a[key] ?? -1) - (b[key] ?? -1));
    return [...this.numbers].sort((a, b) => sign * compare(answer.segments[a], answer.segments[b]) || a - b);
  }

  row(number) {
    const one = this.answer.segments[number];
    const row = document.createElement("tr");
    row.dataset.number = number;
    row.classList.toggle("alone", number === this.alone);
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-pressed", number === this.alone);
    const name = document.createElement("b");
    name.textContent = one.name;
    button.title = one.name;
    button.append(swatch(one.color), name);
    const share = one.area / (this.answer.width * this.answer.height);
    const cells = [button, one.score === null ? "–" : percent(one.score), percent(share)];
    for (const content of cells) {
      const cell = document.createElement("td");
      cell.append(content);
      row.append(cell);
    }
    row.lastChild.title = `${one.area.toLocaleString("en")} pixels`;
    row.addEventListener("click", () => this.onChoose(number));
    return row;
  }
}

// Boxes for the classes of an answer; hidden: a Set of names, which the boxes change.
export function showClasses(answer, hidden, onChange) {
  const kinds = new Map(); // name -> colour and number
  for (const one of answer?.segments ?? []) {
    const known = kinds.get(one.name);
    if (known) known.number++;
    else kinds.set(one.name, { color: one.color, number: 1 });
  }
  const field = $("classes");
  field.hidden = kinds.size < 2;
  field.replaceChildren(field.querySelector("legend"));
  for (const [name, { color, number }] of [...kinds].sort(([a], [b]) => a.localeCompare(b))) {
    const label = document.createElement("label"), box = document.createElement("input");
    box.type = "checkbox";
    box.checked = !hidden.has(name);
    box.addEventListener("change", () => {
      if (box.checked) hidden.delete(name);
      else hidden.add(name);
      onChange();
    });
    label.append(box, swatch(color), number > 1 ? `${name} (${number})` : name);
    field.append(label);
  }
}
