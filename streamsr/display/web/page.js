// The page: one view of original and upscaled with a border that can be moved, and everything around it.
import { Peer } from "./peer.js";

const by = (id) => document.getElementById(id);
const [view, video, stage, handle] = ["view", "video", "stage", "handle"].map(by);
const context = view.getContext("2d", { alpha: false });
const frame = document.createElement("canvas"); // the newest common picture: upscaled above, original below
const frameContext = frame.getContext("2d", { alpha: false });
const shapes = new Map(); // size of the common picture -> where the two lie in it
const USED_WHILE_LIVE = ["stop", "freeze", "snapshot", "record", "fullscreen", "model", "scale"];
const HOLD_MS = 2000; // a choice just made is not overwritten by the server's older word

let peer = null;
let shape = null;
let split = 0.5;
let isFrozen = false;
let shown = 0;
let line = {};
let chosenAt = 0;
let wishes = {};
let recorder = null;

function tell(text, isTrouble = false) {
  by("message").textContent = text;
  by("message").classList.toggle("trouble", isTrouble);
}

function setState(state) {
  document.body.dataset.state = state;
  const isBusy = state === "live" || state === "connecting";
  for (const id of USED_WHILE_LIVE) by(id).disabled = state !== "live" && !(id === "stop" && isBusy);
  for (const id of ["camera", "camera-size", "source"]) by(id).disabled = isBusy;
}

async function start(shows) {
  wishes = {};
  setState("connecting");
  tell(shows === "camera" ? "Waiting for the camera…" : "Connecting…");
  await connect(shows, "");
}

// The old connection, if there is one, ends after the new one stands: the server's job goes on.
async function connect(shows, codec) {
  const old = peer;
  const size = by("camera-size").value.split("x").map(Number);
  const mine = new Peer(shows, codec, wishes, {
    hear: (words) => mine === peer && hear(words),
    gone: (why) => mine === peer && ended(why),
    line: (numbers) => (line = numbers),
  });
  peer = mine;
  try {
    video.srcObject = await mine.connect(size);
    await video.play();
    if (mine === peer && document.body.dataset.state === "connecting") tell("Waiting for the first picture…");
  } catch (error) {
    if (mine === peer) stop(error.message);
  } finally {
    old?.close("");
  }
}

function stop(why) {
  if (peer) peer.close(why);
}

function ended(why) {
  peer = null;
  recorder?.stop();
  freeze(false);
  shapes.clear();
  setState("ended");
  tell(why, why !== "");
}

function hear(message) {
  if (message.type === "geometry") shapes.set(`${message.width}x${message.height}`, message);
  else if (message.type === "again") connect(peer.shows, message.codec);
  else if (message.type === "end") stop(message.text);
  else if (message.type === "stats") showStats(message);
}

// ---- the picture

function onFrame() {
  if (!isFrozen && peer) takeFrame();
  next();
}

function next() {
  if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(onFrame);
  else requestAnimationFrame(onFrame);
}

function takeFrame() {
  const found = shapes.get(`${video.videoWidth}x${video.videoHeight}`);
  if (!found) return;
  shape = found;
  if (frame.width !== video.videoWidth || frame.height !== video.videoHeight) {
    frame.width = video.videoWidth;
    frame.height = video.videoHeight;
  }
  frameContext.drawImage(video, 0, 0);
  if (document.body.dataset.state === "connecting") {
    setState("live");
    tell("");
    stage.hidden = false;
  }
  document.body.dataset.shown = ++shown;
  paint();
}

function paint() {
  if (!shape) return;
  const [x, y, width, height] = shape.upscaled;
  if (view.width !== width || view.height !== height) {
    view.width = width;
    view.height = height;
    by("size-in").textContent = shape.original.slice(2).join("×");
    by("size-out").textContent = `${width}×${height}`;
  }
  const border = Math.round(width * split);
  context.drawImage(frame, x, y, width, height, 0, 0, width, height);
  context.save();
  context.beginPath();
  context.rect(0, 0, border, height);
  context.clip();
  context.imageSmoothingEnabled = !by("pixels").checked;
  context.imageSmoothingQuality = "high";
  context.drawImage(frame, ...shape.original, 0, 0, width, height);
  context.restore();
}

function moveBorder(value) {
  split = Math.min(1, Math.max(0, value));
  handle.setAttribute("aria-valuenow", Math.round(split * 100));
  placeHandle();
  paint();
}

// In fullscreen the picture does not fill its canvas.
function pictureBox() {
  const box = view.getBoundingClientRect();
  const width = Math.min(box.width, (box.height * view.width) / Math.max(1, view.height));
  return { left: box.left + (box.width - width) / 2, width };
}

function placeHandle() {
  const box = pictureBox();
  handle.style.left = `${box.left - stage.getBoundingClientRect().left + split * box.width}px`;
}

function drag(event) {
  if (event.type === "pointerdown") stage.setPointerCapture(event.pointerId);
  else if (!stage.hasPointerCapture(event.pointerId)) return;
  const box = pictureBox();
  moveBorder((event.clientX - box.left) / box.width);
}

// ---- what can be done with it

function freeze(value) {
  isFrozen = value;
  by("freeze").setAttribute("aria-pressed", value);
}

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

const moment = () => new Date().toISOString().slice(0, 19).replaceAll(":", "-");

// Both pictures as they are, before any enlarging: what the border shows is cut from these.
async function snapshot() {
  if (!shape) return;
  const name = moment();
  const cuts = ["original", "upscaled"].map((which) => {
    const [x, y, width, height] = shape[which];
    const cut = document.createElement("canvas");
    [cut.width, cut.height] = [width, height];
    cut.getContext("2d").drawImage(frame, x, y, width, height, 0, 0, width, height);
    return new Promise((resolve) => cut.toBlob((blob) => resolve([blob, `streamsr-${name}-${which}.png`])));
  });
  for (const [blob, file] of await Promise.all(cuts)) save(blob, file);
}

// The view as it is seen, border and all.
function record() {
  if (recorder) return recorder.stop();
  const parts = [];
  const name = moment();
  recorder = new MediaRecorder(view.captureStream(), { videoBitsPerSecond: view.width * view.height * 8 });
  recorder.ondataavailable = (event) => parts.push(event.data);
  recorder.onstop = () => {
    recorder = null;
    by("record").setAttribute("aria-pressed", false);
    const type = parts[0]?.type ?? "";
    if (parts.length) save(new Blob(parts, { type }), `streamsr-${name}.${type.includes("mp4") ? "mp4" : "webm"}`);
  };
  recorder.start(1000);
  by("record").setAttribute("aria-pressed", true);
}

function fullscreen() {
  if (document.fullscreenElement) document.exitFullscreen();
  else stage.requestFullscreen().catch(() => tell("This browser does not allow fullscreen here.", true));
}

// ---- numbers and choices

function fill(select, values, current, words) {
  if (select.dataset.values !== JSON.stringify(values)) {
    select.dataset.values = JSON.stringify(values);
    select.replaceChildren(...values.map((value) => new Option(words(value), value)));
  }
  if (performance.now() - chosenAt > HOLD_MS && document.activeElement !== select) select.value = current;
}

function showStats(now) {
  fill(by("model"), now.models, now.model, String);
  fill(by("scale"), now.scales, now.scale, (factor) => `${factor}×`);
  const number = (value, digits = 0) => (value === null || value === undefined ? "–" : value.toFixed(digits));
  const size = ([width, height]) => `${width}×${height}`;
  const rows = {
    state: now.state,
    model: `${now.model} on ${now.device}`,
    size: `${size(now.size_source)} → ${size(now.size_in)} → ${size(now.size_out)}`,
    "pictures/s": `${number(now.fps_in, 1)} in, ${number(now.fps_out, 1)} upscaled, ${number(line.fps, 1)} shown`,
    latency: `${number(now.latency_p50_ms)} ms, 99 % below ${number(now.latency_p99_ms)} ms`,
    upscaling: `${number(now.upscale_p50_ms)} ms`,
    line: `${line.trip === null || line.trip === undefined ? "–" : number(line.trip * 1000)} ms there and back`,
    "bit rate": `${number((line.bits ?? 0) / 1e6, 1)} of ${number(now.bit_rate / 1e6, 1)} Mb/s`,
    dropped: `${now.dropped + now.camera_dropped} before, ${now.encoder_dropped} after, ${line.dropped ?? 0} here`,
    "packets lost": `${line.lost ?? 0}`,
  };
  by("stats").replaceChildren(
    ...Object.entries(rows).map(([name, value]) => {
      const row = document.createElement("div");
      row.append(document.createElement("dt"), document.createElement("dd"));
      [row.firstChild.textContent, row.lastChild.textContent] = [name, value];
      return row;
    }),
  );
  by("notices").replaceChildren(
    ...now.notices.map((text) => Object.assign(document.createElement("li"), { textContent: text })),
  );
}

function choose(words) {
  chosenAt = performance.now();
  Object.assign(wishes, words);
  peer?.say(words);
}

const CLICKS = {
  camera: () => start("camera"),
  source: () => start("source"),
  stop: () => stop(""),
  freeze: () => freeze(!isFrozen),
  snapshot,
  record,
  fullscreen,
};
const KEYS = { " ": "freeze", s: "snapshot", r: "record", f: "fullscreen" };

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || /^(SELECT|INPUT|BUTTON)$/.test(event.target.tagName)) return;
  const step = { ArrowLeft: -0.01, ArrowRight: 0.01, Home: -1, End: 1 }[event.key];
  if (step) moveBorder(split + step);
  else if (KEYS[event.key]) by(KEYS[event.key]).click();
  else return;
  event.preventDefault();
}

async function main() {
  for (const [id, action] of Object.entries(CLICKS)) by(id).onclick = action;
  by("model").onchange = (event) => choose({ model: event.target.value });
  by("scale").onchange = (event) => choose({ scale: Number(event.target.value) });
  by("pixels").onchange = paint;
  stage.onpointerdown = stage.onpointermove = drag;
  new ResizeObserver(placeHandle).observe(view);
  document.onkeydown = onKey;
  addEventListener("pagehide", () => stop(""));
  next();
  const state = await (await fetch("state")).json();
  by("source").hidden = state.source === null;
  by("source").title = state.source ?? "";
  if (state.source !== null) await start("source");
  else tell("Press “My camera” to see it upscaled. The picture goes to this server only.");
}

main().catch((error) => tell(`The server does not answer: ${error.message}`, true));
