// What is drawn of a document: tables whose rows stay the same elements, and small graphs.

export const MINUTE = 60;
const SVG = "http://www.w3.org/2000/svg";
const WIDTH = MINUTE - 1, HEIGHT = 20;

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

export function say(node, text) { // writes only what changed: a selection stays, and so does focus
  if (node.textContent !== text) node.textContent = text;
}

export function mark(node, kind) {
  node.classList.toggle("bad", kind === "bad");
  node.classList.toggle("warn", kind === "warn");
}

export function number(value, digits = 0) {
  return value === null || value === undefined ? "–" : value.toFixed(digits);
}

export function milliseconds(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const value = seconds * 1000;
  return value.toFixed(value < 10 ? 1 : 0);
}

export function duration(seconds) {
  if (seconds === undefined) return "–";
  if (seconds < 100) return `${Math.floor(seconds)} s`;
  if (seconds < 6000) return `${Math.floor(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.floor(seconds / 3600)} h` : `${Math.floor(seconds / 86400)} d`;
}

export function clock(at) {
  return new Date(at * 1000).toLocaleTimeString([], { hour12: false });
}

export function brief(text) { // paths of code without where it was installed
  return text.replace(/\/[^\s=]*\/(?=[^/\s]+\/[^/\s]+\.py\b)/g, "");
}

// Shows `items` as rows: made once for each key, brought up to date after that.
export function fill(table, items, keyOf, make, update, nothing) {
  const body = table.tBodies[0];
  const known = new Map([...body.rows].map((row) => [row.dataset.key, row]));
  const rows = items.map((item) => {
    const key = String(keyOf(item));
    let row = known.get(key);
    if (row === undefined) {
      row = element("tr", { "data-key": key }, ...make(item));
      if (table.hasAttribute("role")) {
        row.setAttribute("role", "row");
        for (const cell of row.cells) cell.setAttribute("role", "cell");
      }
    }
    update(row, item);
    return row;
  });
  if (rows.length === 0) {
    const empty = known.get("none");
    rows.push(empty ?? element("tr", { "data-key": "none" },
      element("td", { class: "none", colspan: table.tHead.rows[0].cells.length }, nothing)));
  }
  if (rows.length !== body.rows.length || rows.some((row, index) => body.rows[index] !== row)) {
    const focused = document.activeElement;
    body.replaceChildren(...rows);
    if (focused !== document.activeElement && body.contains(focused)) focused.focus();
  }
}

export function graphCell(label) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  for (const name of ["area", "line"]) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("class", name);
    svg.append(path);
  }
  return element("td", { class: "graph", "data-label": label }, element("span"), svg);
}

// Draws values from the left, oldest first; where one is not known there is a gap.
export function drawGraph(cell, values, top, label, format) {
  const [area, line] = cell.lastChild.children;
  const points = values.map((value, index) =>
    value === null ? null : [WIDTH - values.length + 1 + index, HEIGHT - (HEIGHT - 1) * Math.min(1, value / top)]);
  let path = "", filled = "", run = [];
  for (const point of [...points, null]) {
    if (point !== null) { run.push(point.map((each) => Math.round(each * 10) / 10).join(" ")); continue; }
    if (run.length > 0) {
      path += `M${run[0]}h.01L${run.join("L")}`;
      filled += `M${run[0].split(" ")[0]} ${HEIGHT}L${run.join("L")}V${HEIGHT}Z`;
    }
    run = [];
  }
  line.setAttribute("d", path);
  area.setAttribute("d", filled);
  const seen = values.filter((value) => value !== null);
  cell.lastChild.setAttribute("aria-label", seen.length === 0 ? `${label}: nothing yet`
    : `${label} in the last minute: ${format(Math.min(...seen))} to ${format(Math.max(...seen))}`);
}
