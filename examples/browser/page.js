// The form, and what the worker says. In the address, ?model=FOLDER names another folder of graphs.

const $ = (id) => document.getElementById(id);
const folder = new URLSearchParams(location.search).get("model") ?? "model";
let worker, started, opened;

$("provider").querySelector("[value=webgpu]").disabled = !navigator.gpu;

function open() {
  worker?.terminate();
  worker = new Worker("worker.js", { type: "module" });
  worker.onmessage = ({ data }) => heard(data);
  worker.onerror = (event) => wrong(event.message ?? "worker.js does not load");
  opened = false;
  busy("Loading the model");
  const place = new URL(folder, location).href.replace(/\/$/, "");
  worker.postMessage({ open: { folder: place, provider: $("provider").value } });
}

function draw() {
  const [width, height] = $("size").value.split("x").map(Number);
  const { prompt, seed, steps } = Object.fromEntries(
    ["prompt", "seed", "steps"].map((name) => [name, $(name).value]),
  );
  busy("Reading the prompt");
  started = performance.now();
  worker.postMessage({
    draw: { prompt, seed: Number(seed), steps: Number(steps), width, height },
  });
}

function heard({ loaded, model, step, steps, picture, dropped, error }) {
  if (error !== undefined) wrong(error);
  else if (loaded !== undefined) $("progress").value = loaded;
  else if (step !== undefined) {
    $("progress").value = step / steps;
    $("status").textContent = step < steps ? `Step ${step} of ${steps}` : "Decoding";
  } else if (model) {
    opened = true;
    const { title, licence, defaults } = model.variant;
    $("model").textContent = `${title}; weights ${model.model_hash} in ${model.dtype}; ${licence.name}`;
    if ($("steps").value === $("steps").defaultValue) $("steps").value = defaults.steps;
    ready("Ready");
  } else show(picture, dropped);
}

function show(picture, dropped) {
  const canvas = $("picture");
  [canvas.width, canvas.height] = [picture.width, picture.height];
  canvas.getContext("2d").putImageData(picture, 0, 0);
  canvas.setAttribute("aria-label", $("prompt").value);
  $("save").href = canvas.toDataURL("image/png");
  $("save").download = `flux-mini-${$("seed").value}.png`;
  $("save").hidden = false;
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  const lost = dropped ? `; the prompt's last ${dropped} tokens were not read` : "";
  ready(`Drawn in ${seconds} s, seed ${$("seed").value}${lost}`);
}

function busy(text) {
  $("status").textContent = text;
  $("progress").value = 0;
  $("error").hidden = true;
  for (const id of ["draw", "again"]) $(id).disabled = true;
}

function ready(text) {
  $("status").textContent = text;
  for (const id of ["draw", "again"]) $(id).disabled = !opened;
}

function wrong(text) {
  ready("");
  $("error").textContent = text;
  $("error").hidden = false;
}

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  draw();
});
$("again").addEventListener("click", () => {
  $("seed").value = Number($("seed").value) + 1;
  if ($("form").reportValidity()) draw();
});
$("provider").addEventListener("change", open);
open();
