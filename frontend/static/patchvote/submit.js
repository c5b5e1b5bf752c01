/* Choosing and sending images: refuses at once what the server would refuse, and shows the progress of the upload.
   Without this script the form works as plain HTML; the server checks everything again in any case. */

const form = document.getElementById("submit-form");
const input = form.querySelector("input[type=file]");
const magnification = form.elements.magnification;
const unsuited = document.getElementById("unsuited");
const drop = document.getElementById("drop");
const list = document.getElementById("chosen");
const countError = document.getElementById("count-error");
const sendButton = document.getElementById("send");
const sending = document.getElementById("sending");
const bar = document.getElementById("sending-bar");
const sendingText = document.getElementById("sending-text");

const { limits, texts } = JSON.parse(document.getElementById("submit-options").textContent);
const PREVIEW = { width: 144, height: 96 };
const kinds = input.accept.split(",").map((kind) => kind.trim().toLowerCase());

/* Each: { file, facts, problem, row }. The input's own list always follows this one. */
let chosen = [];

function text(name, values = {}) {
  return texts[name].replace(/{(\w+)}/g, (_, key) => values[key]);
}

function size(bytes) {
  const [number, unit] = bytes < 2 ** 20 ? [Math.ceil(bytes / 2 ** 10), "kB"] : [bytes / 2 ** 20, "MB"];
  return `${number.toLocaleString(document.documentElement.lang, { maximumFractionDigits: 1 })} ${unit}`;
}

/* --- checking ---------------------------------------------------------------------------------------------------- */

function kindIsKnown(file) {
  const name = file.name.toLowerCase();
  return kinds.some((kind) => (kind.startsWith(".") ? name.endsWith(kind) : file.type === kind));
}

function isTiff(file) {
  return file.type === "image/tiff" || /\.tiff?$/i.test(file.name);
}

function problemOfFile(file) {
  if (!kindIsKnown(file)) return text("wrongType");
  if (file.size === 0) return text("empty");
  if (file.size > limits.bytes) return text("tooBig", { limit: size(limits.bytes) });
  return null;
}

function problemOfPixels({ width, height }) {
  if (Math.min(width, height) < limits.side) return text("tooSmall", { width, height, limit: limits.side });
  if (width * height > limits.pixels) return text("tooManyPixels", { width, height });
  return null;
}

async function check(item) {
  item.problem = problemOfFile(item.file);
  if (item.problem || isTiff(item.file)) {
    show(item, text("noPreview"));
    return;
  }
  try {
    const bitmap = await createImageBitmap(item.file);
    item.problem = problemOfPixels(bitmap);
    show(item, preview(bitmap), `${bitmap.width} × ${bitmap.height}`);
    bitmap.close();
  } catch {
    item.problem = text("broken");
    show(item, text("noPreview"));
  }
}

/* --- the list of chosen images ----------------------------------------------------------------------------------- */

function element(tag, className, ...content) {
  const made = document.createElement(tag);
  made.className = className;
  made.append(...content);
  return made;
}

function preview(bitmap) {
  const scale = Math.min(PREVIEW.width / bitmap.width, PREVIEW.height / bitmap.height);
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas;
}

function rowOf(item) {
  const remove = element("button", "", "×");
  remove.type = "button";
  remove.setAttribute("aria-label", text("remove", { name: item.file.name }));
  remove.addEventListener("click", () => removeItem(item));
  return element(
    "li",
    "",
    element("span", "preview", "…"),
    element("span", "name", item.file.name),
    element("span", "facts-of-file", size(item.file.size)),
    remove,
  );
}

function show(item, picture, pixels) {
  item.row.querySelector(".preview").replaceChildren(picture);
  item.facts = [pixels, size(item.file.size)].filter(Boolean).join(" · ");
  mark(item);
}

function mark(item) {
  item.row.classList.toggle("bad", Boolean(item.problem));
  item.row.querySelector(".facts-of-file").textContent = item.problem ?? item.facts;
}

function same(one, other) {
  return one.name === other.name && one.size === other.size && one.lastModified === other.lastModified;
}

async function add(files) {
  const fresh = [...files]
    .filter((file) => !chosen.some((item) => same(item.file, file)))
    .map((file) => ({ file, problem: null }));
  for (const item of fresh) item.row = rowOf(item);
  chosen.push(...fresh);
  list.append(...fresh.map((item) => item.row));
  listChanged();
  for (const item of fresh) await check(item); // one by one: decoded images are large
}

function removeItem(item) {
  const neighbour = item.row.nextElementSibling ?? item.row.previousElementSibling;
  chosen = chosen.filter((other) => other !== item);
  item.row.remove();
  listChanged();
  (neighbour?.querySelector("button") ?? input).focus();
}

function listChanged() {
  const files = new DataTransfer();
  for (const item of chosen) files.items.add(item.file);
  input.files = files.files;
  const extra = chosen.length - limits.images;
  countError.textContent = extra > 0 ? text("tooMany", { limit: limits.images, extra }) : "";
  countError.hidden = extra <= 0;
  if (!chosen.some((item) => item.problem)) say("", "image-errors");
}

input.addEventListener("change", () => add(input.files));

for (const name of ["dragenter", "dragover"]) {
  drop.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
}
for (const name of ["dragleave", "drop"]) {
  drop.addEventListener(name, () => drop.classList.remove("over"));
}
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  add(event.dataTransfer.files);
});

/* --- magnification ----------------------------------------------------------------------------------------------- */

function warnOfMagnification() {
  if (unsuited) unsuited.hidden = unsuited.dataset.madeFor.split(",").includes(magnification.value);
}

magnification.addEventListener("change", warnOfMagnification);

/* --- sending ----------------------------------------------------------------------------------------------------- */

function say(sentence, place = "form-errors") {
  document.getElementById(place).replaceChildren(sentence ? element("p", "errorlist", sentence) : "");
}

function sendingStarts() {
  sendButton.disabled = true;
  sending.hidden = false;
  say("");
  say("", "image-errors");
}

function sendingEnds() {
  sendButton.disabled = false;
  sending.hidden = true;
}

/* The server's answer to a refused form is the page with its errors: take those over, and keep the chosen files. */
function showServerErrors(html) {
  const page = new DOMParser().parseFromString(html, "text/html");
  let shown = false;
  for (const id of ["form-errors", "image-errors"]) {
    const answer = page.getElementById(id);
    if (!answer) continue;
    document.getElementById(id).replaceChildren(...answer.childNodes);
    shown ||= document.getElementById(id).textContent.trim() !== "";
  }
  return shown;
}

/* Each of its errors begins with the name of the file that it is about. */
function markRefused() {
  const errors = [...document.querySelectorAll("#image-errors li")].map((line) => line.textContent);
  for (const item of chosen) {
    const name = `${item.file.name}: `;
    item.problem = errors.find((error) => error.startsWith(name))?.slice(name.length) ?? item.problem;
    mark(item);
  }
}

function answered(request) {
  if (request.status === 200) {
    location.assign(request.responseURL);
    return;
  }
  sendingEnds();
  if (!showServerErrors(request.responseText)) say(text("refused", { status: request.status }));
  markRefused();
  form.querySelector(".errorlist:not([hidden])")?.scrollIntoView({ block: "center" });
}

function send() {
  const request = new XMLHttpRequest();
  request.upload.addEventListener("progress", (event) => {
    bar.value = event.total ? (100 * event.loaded) / event.total : 0;
    sendingText.textContent =
      event.loaded < event.total ? text("sending", { percent: Math.round(bar.value) }) : text("storing");
  });
  request.addEventListener("load", () => answered(request));
  request.addEventListener("error", () => {
    sendingEnds();
    say(text("interrupted"));
  });
  request.open("POST", form.action);
  request.send(new FormData(form));
  sendingStarts();
}

form.addEventListener("submit", (event) => {
  const bad = chosen.find((item) => item.problem);
  if (!bad && chosen.length <= limits.images) {
    if (!chosen.length) return; // the browser or the server says that an image is missing
    event.preventDefault();
    send();
    return;
  }
  event.preventDefault();
  if (bad) {
    say(text("badLeft"), "image-errors");
    bad.row.querySelector("button").focus();
  }
});

/* Coming back with the browser's button: the page may be as it was left, in the middle of sending. */
window.addEventListener("pageshow", () => {
  if (!sending.hidden) sendingEnds();
  warnOfMagnification();
  if (input.files.length && !chosen.length) add(input.files);
});
