"use strict";
const ROW = 20;

function picture(section) {
  const { frames, tree, unit } = JSON.parse(section.querySelector("script").textContent);
  const graph = section.querySelector(".graph");
  const detail = section.querySelector(".detail");
  const find = section.querySelector("input");
  const found = section.querySelector("output");
  const form = section.querySelector("form");
  let path = [tree]; // from the root to what the picture shows

  const share = (count) => `${((100 * count) / tree[1]).toFixed(1)} %`;
  const sought = ([number]) => find.value !== "" &&
    frames[number].join(" ").toLowerCase().includes(find.value.toLowerCase());

  function describe([number, count]) {
    const [name, place] = frames[number];
    return `${name}${place ? ` (${place})` : ""}: ${share(count)}, ${count} ${unit}`;
  }

  function bar(node, left, width, depth, above, way) {
    const button = document.createElement("button");
    const [name, , kind] = frames[node[0]];
    button.type = "button";
    button.textContent = width > 25 ? name : "";
    button.className = `${kind}${above ? " above" : ""}${sought(node) ? " sought" : ""}`;
    button.style.left = `${left}px`;
    button.style.width = `${Math.max(1, width - 1)}px`;
    button.style.top = `${depth * ROW}px`;
    button.setAttribute("aria-label", describe(node));
    button.title = describe(node);
    button.addEventListener("focus", () => { detail.textContent = describe(node); });
    button.addEventListener("click", () => { path = way; draw(true); });
    return button;
  }

  function draw(keepFocus) {
    const width = graph.clientWidth;
    const bars = [];
    let deepest = 0;
    const inner = (node, left, depth, way, scale) => {
      const wide = node[1] * scale;
      if (wide < 1) return;
      deepest = Math.max(deepest, depth);
      bars.push(bar(node, left, wide, depth, false, way));
      let next = left;
      for (const child of node[2]) {
        inner(child, next, depth + 1, [...way, child], scale);
        next += child[1] * scale;
      }
    };
    path.slice(0, -1).forEach((node, depth) => bars.push(bar(node, 0, width, depth, true, path.slice(0, depth + 1))));
    const shown = path[path.length - 1];
    inner(shown, 0, path.length - 1, path, width / Math.max(1, shown[1]));
    graph.replaceChildren(...bars);
    graph.style.height = `${(deepest + 1) * ROW}px`;
    if (keepFocus) bars[path.length - 1].focus();
  }

  function count(node) { // a function below itself counts once
    if (sought(node)) return node[1];
    return node[2].reduce((sum, child) => sum + count(child), 0);
  }

  find.addEventListener("input", () => {
    found.textContent = find.value ? `on ${share(count(tree))} of the whole` : "";
    draw(false);
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => {
    path = [tree];
    found.textContent = "";
    setTimeout(() => draw(false));
  });
  addEventListener("keydown", (event) => {
    if (event.key === "Escape") { path = [tree]; draw(section.contains(document.activeElement)); }
  });
  addEventListener("resize", () => draw(false));
  draw(false);
}

document.querySelectorAll(".picture").forEach(picture);
