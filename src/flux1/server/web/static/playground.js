// The playground: send the form, read the stream of events, show what comes.

const byId = (id) => document.getElementById(id);
const form = byId("ask");
const token = document.querySelector("meta[name=csrf-token]").content;
const OWN_SIZE = "own";
const LOOK_EVERY_MS = 1000;

// --- the form

function chosenModel() {
  return byId("model").selectedOptions[0].dataset;
}

function showModel() {
  const model = chosenModel();
  byId("model-about").textContent = model.about;
  const size = byId("size");
  const wanted = size.value || size.dataset.chosen;
  const sizes = model.sizes.split(";").filter(Boolean).map((entry) => {
    const [pixels, ...words] = entry.split(" ");
    return new Option(`${pixels.replace("x", " × ")}, ${words.join(" ").toLowerCase()}`, pixels);
  });
  size.replaceChildren(...sizes, new Option("other …", OWN_SIZE));
  const known = sizes.some((option) => option.value === wanted);
  size.value = known ? wanted : wanted ? OWN_SIZE : sizes[0].value;
  for (const side of ["width", "height"]) byId(side).step = byId(side).min = model.multiple;
  for (const [name, value] of Object.entries(JSON.parse(model.usual))) byId(name).placeholder = value;
  byId("guidance").min = model.embedded === "true" ? 0 : 1;
  byId("true_cfg-field").hidden = model.embedded !== "true";
  showSize();
}

function showSize() {
  const own = byId("size").value === OWN_SIZE;
  byId("free-size").hidden = !own;
  if (!own) [byId("width").value, byId("height").value] = byId("size").value.split("x");
}

// What the form asks for, by the API's names. Empty fields are left to the model.
function asked() {
  const body = { stream: true, partial_images: 3 };
  for (const field of form.elements) {
    const skipped = !field.name || field.closest("[hidden]");
    const isNumber = field.type === "number" || field.dataset.kind === "number";
    if (field.value !== "" && !skipped) body[field.name] = isNumber ? Number(field.value) : field.value;
  }
  body.size = `${byId("width").value}x${byId("height").value}`;
  return body;
}

function complain(message, field) {
  const error = byId("error");
  error.textContent = message;
  error.hidden = !message;
  for (const wrong of form.querySelectorAll("[aria-invalid]")) {
    wrong.removeAttribute("aria-invalid");
    wrong.removeAttribute("aria-errormessage");
  }
  const names = { size: "width", num_images: "n" };
  const input = message && field && byId(names[field] ?? field);
  if (!input || !form.contains(input)) return;
  input.closest("details")?.setAttribute("open", "");
  input.setAttribute("aria-invalid", "true");
  input.setAttribute("aria-errormessage", "error");
  input.focus();
}

// --- one run

let running = null; // { abort, job } of the request that is being drawn

async function draw() {
  complain("");
  const body = asked();
  if (!body.prompt?.trim()) return complain("Say what to draw.", "prompt");
  const run = { body, abort: new AbortController(), job: null, figures: [], share: 0, finished: 0 };
  running = run;
  busy(true);
  say("Sending …", null);
  try {
    await follow(run);
  } catch (failure) {
    if (running !== run) return; // cancelled, and said so
    complain(failure.message, failure.field);
    discard(run);
  } finally {
    if (running === run) {
      running = null;
      busy(false);
    }
  }
}

async function follow(run) {
  const answer = await fetch("/playground/generate", {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "text/event-stream", "X-CSRF-Token": token },
    body: JSON.stringify(run.body),
    signal: run.abort.signal,
  }).catch((failure) => {
    throw run.abort.signal.aborted ? failure : new Error("The server cannot be reached.");
  });
  if (!answer.ok) throw await told(answer);
  run.job = answer.headers.get("x-job-id");
  show(run);
  say("Waiting …", 0);
  watchProgress(run);
  for await (const event of events(answer.body)) {
    if (running !== run) return;
    if (event.error) throw failure(event.error);
    if (event.type === "image_generation.partial_image") preview(run, event);
    if (event.type === "image_generation.completed") finish(run, event);
  }
  if (run.finished < run.figures.length) {
    throw new Error("The connection was lost. What was drawn is among your requests.");
  }
  const many = run.finished > 1 ? `${run.finished} pictures are` : "The picture is";
  say(`${many} done.`, null);
}

async function told(answer) {
  if (answer.status === 401) {
    location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
    return new Error("Your log-in has ended.");
  }
  const envelope = await answer.json().catch(() => ({}));
  return failure(envelope.error ?? { message: `The server answered ${answer.status}.` });
}

function failure({ message, param }) {
  return Object.assign(new Error(message), { field: param });
}

// Server-sent events: blocks of lines, a blank line after each; `:` begins a comment.
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let pending = "";
  for (;;) {
    const { done, value } = await reader.read().catch(() => ({ done: true }));
    if (done) return;
    const blocks = (pending + value).split("\n\n");
    pending = blocks.pop();
    for (const block of blocks) {
      const data = block.split("\n").filter((line) => line.startsWith("data: "));
      if (data.length) yield JSON.parse(data.map((line) => line.slice(6)).join("\n"));
    }
  }
}

// Ask now and then where the request stands.
async function watchProgress(run) {
  const over = () => running !== run || run.finished === run.figures.length;
  while (!over()) {
    const answer = await fetch(`/playground/place/${run.job}`).catch(() => null);
    const stands = answer?.status === 200 ? await answer.json().catch(() => null) : null;
    if (!stands || over()) return;
    const { ahead, seconds, progress } = stands;
    if (ahead === null) drawn(run, progress);
    else say(`Waiting: ${ahead} pictures go before, about ${Math.ceil(seconds)} s.`, 0);
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
}

async function cancel() {
  const run = running;
  if (!run) return;
  running = null;
  if (run.job) {
    const headers = { "X-CSRF-Token": token, Accept: "application/json" };
    await fetch(`/requests/${run.job}/cancel`, { method: "POST", headers, redirect: "manual" }).catch(() => null);
  }
  run.abort.abort();
  discard(run);
  busy(false);
  say("Cancelled.", null);
  byId("draw").focus();
}

// --- what is shown

function busy(now) {
  byId("draw").disabled = now;
  byId("cancel").hidden = !now;
}

function say(words, part) {
  byId("progress").hidden = false;
  byId("progress-words").textContent = words;
  byId("progress-bar").hidden = part === null;
  if (part !== null) byId("progress-bar").value = part;
}

function show(run) {
  const section = byId("run").content.cloneNode(true).firstElementChild;
  section.querySelector("h3").textContent = run.body.prompt;
  const list = section.querySelector("ul");
  for (let index = 0; index < (run.body.n ?? 1); index++) {
    list.append(byId("picture").content.cloneNode(true).firstElementChild);
  }
  run.figures = [...list.children];
  run.section = section;
  byId("nothing").hidden = true;
  byId("runs").prepend(section);
  if (byId("results").getBoundingClientRect().top > innerHeight / 2) byId("results").scrollIntoView();
}

function discard(run) {
  run.section?.remove();
  byId("progress").hidden = true;
  byId("nothing").hidden = byId("runs").childElementCount > 0;
}

function put(run, event, source, alt) {
  const image = run.figures[event.image_index].querySelector("img");
  const [width, height] = event.size.split("x").map(Number);
  const scale = width <= 256 ? 2 : 1; // small pictures are shown at twice their size
  Object.assign(image, { src: source, alt, width: width * scale, height: height * scale, hidden: false });
}

function preview(run, event) {
  const caption = run.figures[event.image_index].querySelector("figcaption");
  put(run, event, `data:image/${event.output_format};base64,${event.b64_json}`, "Preview");
  caption.textContent = `Preview, step ${event.step} of ${event.steps}`;
  drawn(run, event.step / event.steps / run.figures.length);
}

// At least this share of the whole, 0 to 1, is drawn.
function drawn(run, share) {
  run.share = Math.max(run.share, share);
  const count = run.figures.length > 1 ? `, ${run.finished} of ${run.figures.length} pictures done` : "";
  say(`Drawing, ${Math.round(100 * run.share)} %${count}`, run.share);
}

function finish(run, event) {
  const item = run.figures[event.image_index];
  const bytes = Uint8Array.from(atob(event.b64_json), (letter) => letter.charCodeAt(0));
  const source = URL.createObjectURL(new Blob([bytes], { type: `image/${event.output_format}` }));
  put(run, event, source, run.body.prompt);
  item.querySelector("figcaption").textContent = `Seed ${event.seed}, ${event.size.replace("x", " × ")}`;
  item.querySelector(".actions").hidden = false;
  const note = run.section.querySelector(".note");
  note.textContent = event.notes.join("; ");
  note.hidden = !event.notes.length;
  const suffix = event.output_format === "jpeg" ? "jpg" : event.output_format;
  Object.assign(item.querySelector(".download"), { href: source, download: `${event.image_id}.${suffix}` });
  item.querySelector(".details").href = `/requests/${event.id}`;
  item.querySelector(".again").addEventListener("click", () => again(run.body, event.seed));
  run.finished += 1;
  drawn(run, run.finished / run.figures.length);
}

// The settings that drew a picture, for it alone.
function again(body, seed) {
  for (const field of form.elements) if (field.name) field.value = body[field.name] ?? "";
  byId("size").dataset.chosen = body.size;
  byId("size").value = "";
  [byId("width").value, byId("height").value] = body.size.split("x");
  showModel();
  byId("n").value = 1;
  byId("seed").value = seed;
  byId("seed").focus();
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (!running) draw();
});
form.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
});
byId("cancel").addEventListener("click", cancel);
byId("model").addEventListener("change", showModel);
byId("size").addEventListener("change", showSize);
showModel();
