// What the buttons do: one request each, and one line that says how it ended.

import { element, number } from "./draw.js";

const result = document.getElementById("result");
const dialog = document.getElementById("dialog");
const heaps = new Map(); // by process: the heap that was looked at last
let ask = null, awaited = null, picture = "";

export function setUp(fetchWithToken) {
  ask = fetchWithToken;
  for (const form of document.querySelectorAll("#actions form")) {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      run(event.submitter, actions[form.dataset.action], new FormData(form));
    });
  }
}

export function buttonsFor(worker) {
  return ["Profile", "Tasks", "Heap"].map((name) => {
    const button = element("button", { type: "button", "aria-label": `${name} of worker ${worker.slot}` }, name);
    button.addEventListener("click", () => run(button, looks[name], worker));
    return button;
  });
}

// Tells what the stream shows to whoever waits for something to come about.
export function observe(document_) {
  if (awaited === null) return;
  try {
    const text = awaited.check(document_);
    if (text) { tell(text); awaited = null; }
  } catch (error) {
    fail(error.message);
    awaited = null;
  }
}

function tell(...parts) {
  result.className = "";
  result.replaceChildren(...parts);
}

function fail(text) {
  result.className = "failed";
  result.textContent = `Failed: ${text}`;
}

async function run(button, action, argument) {
  button.disabled = true;
  awaited = null;
  try {
    await action(argument);
  } catch (error) {
    fail(error.message);
  } finally {
    button.disabled = false;
    button.focus({ preventScroll: true });
  }
}

async function demand(path, body) {
  const response = await ask(path, body === undefined ? {} : {
    method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" },
  });
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  throw new Error(problem.detail ?? `the service answered ${response.status}`);
}

async function profile(worker, seconds) {
  const who = worker === "all" ? "all workers" : `worker ${worker}`;
  let left = seconds;
  const show = () => tell(`Sampling ${who}: ${Math.max(0, left--)} s left…`);
  show();
  const counting = setInterval(show, 1000);
  try {
    const page = await (await demand(`console/profile?worker=${worker}&seconds=${seconds}`)).text();
    URL.revokeObjectURL(picture);
    picture = URL.createObjectURL(new Blob([page], { type: "text/html" }));
  } finally {
    clearInterval(counting);
  }
  const open = element("a", { href: picture, target: "_blank" }, "open the flame graph");
  const save = element("a", { href: picture, download: `profile-${worker}.html` }, "save it");
  tell(`Profile of ${who}, ${seconds} s: `, open, ", ", save, ".");
}

function show(title, ...content) {
  document.getElementById("dialog-title").textContent = title;
  const body = document.getElementById("dialog-body");
  body.replaceChildren(...content);
  body.scrollTop = 0;
  dialog.showModal();
}

const looks = {
  Profile: (worker) => profile(worker.slot, 10),

  async Tasks(worker) { // a loop that stands still cannot tell its tasks; its threads it can
    const command = worker.answers === false ? "threads" : "stacks";
    const text = await (await demand(`debug/${command}?worker=${worker.slot}`)).text();
    tell("");
    show(`Worker ${worker.slot}: where its ${command === "threads" ? "threads" : "threads and tasks"} stand`,
      element("pre", {}, text));
  },

  async Heap(worker) {
    tell(`Counting the heap of worker ${worker.slot}…`);
    const heap = await (await demand(`debug/heap?worker=${worker.slot}`)).json();
    const before = heaps.get(worker.pid);
    heaps.clear(); // one is enough to compare with
    heaps.set(worker.pid, { at: Date.now(), counts: new Map(heap.types.map((each) => [each.type, each.count])) });
    tell("");
    const ago = before && Math.round((Date.now() - before.at) / 1000);
    const heads = ["type", "count", "KiB", ...(before ? [`more than ${ago} s ago`] : [])];
    const table = element("table", {}, element("thead", {}, element("tr", {}, ...heads.map((head, index) =>
      element("th", index ? { class: "number" } : {}, head)))));
    table.append(element("tbody", {}, ...heap.types.map(({ type, count, bytes }) => {
      const cells = [String(count), number(bytes / 1024)];
      if (before) {
        const grown = count - (before.counts.get(type) ?? NaN);
        cells.push(Number.isNaN(grown) ? "new here" : `${grown > 0 ? "+" : ""}${grown}`);
      }
      return element("tr", {}, element("td", {}, element("code", {}, type)),
        ...cells.map((text) => element("td", { class: "number" }, text)));
    })));
    show(`Worker ${worker.slot}: ${heap.objects} objects, ${number(heap.bytes / 2 ** 20)} MiB; the largest types`,
      element("p", {}, before ? "" : "Look again later: a further column then says what grew."), table);
  },
};

const actions = {
  profile: (form) => profile("all", Number(form.get("seconds"))),

  async reload() {
    const { asked } = await (await demand("reload", {})).json();
    tell("The code is loaded anew; worker by worker is replaced…");
    awaited = { check({ reload }) {
      if (reload.failure?.generation >= asked) throw new Error(`${reload.failure.reason}; the old code serves on`);
      return reload.current >= asked && !reload.rolling && "The new code serves.";
    } };
  },

  async scale(form) {
    const count = Number(form.get("count"));
    await demand("workers", { count });
    tell(`${count} workers are to be there…`);
    awaited = { check: ({ workers }) =>
      workers.length === count && workers.every((row) => row.state === "ready") && `Workers ready: ${count}.` };
  },

  async level(form) {
    const level = form.get("level");
    await demand("console/log-level", { level });
    tell(`Log level ${level} is on its way…`);
    awaited = { check: ({ workers }) =>
      workers.every((row) => !row.log_level || row.log_level === level) &&
      `All workers log ${level} and above, until the service ends or this is set again.` };
  },
};
