"use strict";
// The live window: shows the frames that the server has, and sends what is changed.
// One frame is asked for at a time, and one order: a slow page skips frames and settings between.

const $ = (id) => document.getElementById(id);
const clamp = (x, low, high) => Math.min(Math.max(x, low), high);
const numbers = (n) => Array.from({ length: n }, (_, k) => k);
function make(tag, to, text) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (to) to.append(made);
  return made;
}

const HEAD = 64;       // bytes before a frame's positions, see frames.py
const SHADES = 32;     // colours around the circle
const TICKS = 1000;    // positions of a slider
const HISTORY = 600;   // frames of the curve
const MARGIN = 0.12;   // empty space around start and target, in sides of their box
const APART = 3;       // pixels between two points of a stroke
const LONG = 300;      // milliseconds of an order from which on the page says that it works
const PATIENCE = 1000; // milliseconds between two attempts to reach the server

let facts = null, frame = null, target = new Float32Array(0), shades = new Uint8Array(0), scene = -1;
let strokes = null, painted = false, box = null, drawnTarget = null, history = [], stamps = [];
// what tests and benchmarks read
const live = window.live = { drawn: 0, rate: 0, ready: false, get facts() { return facts; }, get frame() { return frame; } };

// ---------------------------------------------------------------- the server

async function ask(name, options) {
  const answer = await fetch(name, { cache: "no-store", ...options }).catch(() => { throw new Lost(); });
  if (answer.status === 204) return null;
  if ((answer.headers.get("Content-Type") || "").startsWith("application/json")) {
    const said = await answer.json();
    if (!answer.ok) throw new Refused(said.message);
    return said;
  }
  return answer.arrayBuffer();
}

class Refused extends Error {}
class Lost extends Error {}

// Orders wait for their turn. Settings that wait one after the other are joined.
const queue = [];
let sending = false;
function set(values) {
  const last = queue[queue.length - 1];
  if (last && last.values) Object.assign(last.values, values);
  else queue.push({ do: "set", values });
  send();
}
const waits = (name) => queue.some(({ values }) => values && name in values);
function order(name) {
  queue.push({ do: name });
  send();
}
async function send() {
  if (sending) return;
  sending = true;
  while (queue.length) {
    const body = JSON.stringify(queue.shift()), late = setTimeout(() => document.body.classList.add("busy"), LONG);
    try {
      tell(await ask("order", { method: "POST", headers: { "Content-Type": "application/json" }, body }));
      if (!facts.message) say("");
    } catch (error) {
      if (!(error instanceof Refused || error instanceof Lost)) throw error;
      // back to the settings that hold, then the reason: it is newer than what they say
      if (facts && !queue.length) tell(facts);
      say(error instanceof Refused ? error.message : "The program does not answer.");
    }
    clearTimeout(late);
    document.body.classList.remove("busy");
  }
  sending = false;
}

// The next frame is on its way while one is drawn; no further one waits.
async function watch() {
  let number = 0, next = null;
  for (;;) {
    try {
      const bytes = await (next || ask(`frame?after=${number}`));
      next = null;
      if (bytes) {
        const head = new DataView(bytes), whole = (k) => head.getUint32(4 * k, true), real = (k) => head.getFloat64(24 + 8 * k, true);
        number = whole(0);
        next = ask(`frame?after=${number}`);
        next.catch(() => {});
        if (!facts || whole(1) > facts.facts) tell(await ask("facts"));
        if (whole(2) !== scene) await learn();
        frame = { number, step: whole(3), count: whole(4), t: real(0), speed: real(1), value: real(2), dt: real(3), seconds: real(4), points: new Float32Array(bytes, HEAD) };
        lost(false);
      }
      await new Promise(requestAnimationFrame);
      if (frame) draw();
    } catch (error) {
      if (!(error instanceof Lost || error instanceof Refused)) throw error;
      lost(true);
      next = null;
      await new Promise((done) => setTimeout(done, PATIENCE));
    }
  }
}

let gone = false;
function lost(yes) {
  if (yes) say("The program has ended. Start it again in the terminal, and open the new address.");
  else if (gone) say("");
  gone = yes;
}

// Target and start of a new scene.
async function learn() {
  const [goal, start] = await Promise.all(["target", "start"].map((name) => ask(name)));
  target = new Float32Array(goal);
  shades = directions(new Float32Array(start));
  scene = facts.scene;
  if (!strokes) box = facts.box;
  drawnTarget = null;
}

// Where each particle began, as a shade: its direction from the middle of the start.
function directions(start) {
  const n = start.length / 2, middle = [0, 0];
  start.forEach((x, i) => { middle[i % 2] += x / n; });
  return Uint8Array.from(numbers(n), (_, i) => {
    const angle = Math.atan2(start[2 * i + 1] - middle[1], start[2 * i] - middle[0]);
    return Math.min(Math.floor((angle / (2 * Math.PI) + 0.5) * SHADES), SHADES - 1);
  });
}

// ---------------------------------------------------------------- controls

// The facts hold: title, message, and each control's value are those of the server.
function tell(news) {
  if (facts && news.facts < facts.facts) return;
  facts = news;
  const { settings } = facts;
  $("about").textContent = lineOf("flow");
  $("title").textContent = `${settings.flow} to ${settings.target === "painted" ? "your painting" : settings.target}`;
  $("run").textContent = facts.running ? "Pause" : "Run";
  $("value-name").textContent = facts.value;
  if (facts.message) say(facts.message);
  const wanted = JSON.stringify(facts.controls);
  if (wanted !== tell.shown) build();
  tell.shown = wanted;
  for (const control of facts.controls) show(control);
  live.ready = true;
}

// The line about the present choice.
function lineOf(name) {
  const { names } = facts.controls.find((control) => control.name === name);
  return names.find(([known]) => known === facts.settings[name])[1];
}

function say(text) {
  $("message").textContent = text;
  $("message").hidden = !text;
}

const shown = {};
function build() {
  const kept = { ...shown };
  for (const name in shown) delete shown[name];
  const places = { choice: [], slider: [] };
  for (const control of facts.controls) {
    const choice = control.kind === "choice", old = kept[control.name];
    // a slider under a finger stays, with its new ends
    const made = !choice && old && old.auto !== undefined === control.automatic ? old : choice ? chooser(control) : slider(control);
    made.control = control;
    shown[control.name] = made;
    places[choice ? "choice" : "slider"].push(made.label);
  }
  for (const [id, labels] of [["choices", places.choice], ["sliders", places.slider]]) {
    if (labels.length !== $(id).children.length || labels.some((label, k) => label !== $(id).children[k])) $(id).replaceChildren(...labels);
  }
}

function chooser(control) {
  const label = document.createElement("label"), made = { label };
  make("span", label, control.label);
  made.select = make("select", label);
  made.select.name = control.name;
  for (const [name, line] of control.names) {
    const option = make("option", made.select, name);
    [option.value, option.title] = [name, line];
  }
  made.select.addEventListener("change", () => set({ [control.name]: made.select.value }));
  return made;
}

function slider(control) {
  const label = document.createElement("label"), made = { label };
  make("span", label, control.label);
  const value = make("span", label);
  value.className = "value";
  if (control.automatic) {
    made.auto = make("button", value, "auto");
    made.auto.title = "Let the program choose";
    made.auto.addEventListener("click", (event) => {
      event.preventDefault();
      set({ [control.name]: facts.chosen.includes(control.name) ? facts.settings[control.name] : null });
    });
  }
  made.output = make("output", value);
  made.input = make("input", label);
  Object.assign(made.input, { type: "range", name: control.name, min: 0, max: TICKS, step: 1 });
  made.input.setAttribute("aria-label", control.label);
  made.input.addEventListener("input", () => {
    const number = fromTick(made.control, Number(made.input.value));
    made.output.textContent = short(number);
    made.held = true;
    set({ [control.name]: number });
  });
  made.input.addEventListener("change", () => { made.held = false; });
  return made;
}

function show(control) {
  const { select, input, output, auto, held } = shown[control.name], value = facts.settings[control.name];
  if (select) {
    painted ||= value === "painted";
    for (const option of select.options) option.hidden = option.value === "painted" && !painted;
    if (!waits(control.name)) select.value = value;
  } else if (!waits(control.name)) {
    output.textContent = short(value);
    input.setAttribute("aria-valuetext", short(value));
    if (!held) input.value = toTick(control, value);
  }
  if (auto) auto.setAttribute("aria-pressed", String(facts.chosen.includes(control.name)));
}

function fromTick({ kind, low, high }, tick) {
  const share = tick / TICKS;
  if (kind === "linear") return Number((low + share * (high - low)).toPrecision(4));
  const number = low * (high / low) ** share;
  return kind === "whole" ? Math.round(number) : Number(number.toPrecision(3));
}
function toTick({ kind, low, high }, value) {
  return TICKS * clamp(kind === "linear" ? (value - low) / (high - low) : Math.log(value / low) / Math.log(high / low), 0, 1);
}
function short(x) {
  if (x === null || x === undefined || Number.isNaN(x)) return "–";
  if (Number.isInteger(x) && Math.abs(x) < 1e6) return String(x);
  const size = Math.abs(x);
  return size >= 1e5 || size < 1e-3 ? x.toExponential(2).replace("e+", "e") : String(Number(x.toPrecision(3)));
}

// ---------------------------------------------------------------- drawing

const channels = (hex) => [1, 3, 5].map((k) => parseInt(hex.slice(k, k + 2), 16));
// around the circle, of one lightness
const wheel = (lift) => {
  const stops = ["#d26a8c", "#cf7340", "#a88a1c", "#5f9f4a", "#00a68a", "#009fc0", "#6b8bd6", "#ac75bf", "#d26a8c"].map(channels);
  return numbers(SHADES).map((k) => {
    const at = (k / SHADES) * (stops.length - 1), j = Math.floor(at);
    const mixed = stops[j].map((low, c) => low + (at - j) * (stops[j + 1][c] - low));
    return `rgb(${mixed.map((c) => Math.round(c + lift * (255 - c)))})`;
  });
};
const theme = {};
function learnTheme() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["panel", "line", "ink", "quiet", "target", "key"]) theme[name] = style.getPropertyValue("--" + name).trim();
  // on a dark ground the same hues, lighter
  theme.wheel = wheel(matchMedia("(prefers-color-scheme: dark)").matches ? 0.18 : 0);
  drawnTarget = null;
}

function sized(canvas) {
  const ratio = Math.min(window.devicePixelRatio || 1, 2), w = canvas.clientWidth, h = canvas.clientHeight;
  if (canvas.width !== Math.round(w * ratio) || canvas.height !== Math.round(h * ratio)) [canvas.width, canvas.height] = [Math.round(w * ratio), Math.round(h * ratio)];
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  return { pen, w, h, ratio };
}

// The plane on the canvas: pixels a unit, and the plane's point in the middle of the canvas.
function view(w, h) {
  const [left, low, right, high] = box, side = Math.max(right - left, high - low) || 1, room = 1 + 2 * MARGIN;
  const scale = Math.min(w / Math.max(right - left, side / 3), h / Math.max(high - low, side / 3)) / room;
  return { scale, x: (left + right) / 2, y: (low + high) / 2 };
}

function dots(pen, points, w, h, radius, groups, colours) {
  const { scale, x, y } = view(w, h), dx = w / 2 - scale * x, dy = h / 2 + scale * y;
  groups.forEach((members, s) => {
    pen.beginPath();
    for (const i of members) {
      const px = dx + scale * points[2 * i], py = dy - scale * points[2 * i + 1];
      if (radius < 1.3) pen.rect(px - radius, py - radius, 2 * radius, 2 * radius);
      else { pen.moveTo(px + radius, py); pen.arc(px, py, radius, 0, 2 * Math.PI); }
    }
    pen.fillStyle = colours[s];
    pen.fill();
  });
}

// The target stands still: it is drawn once for each size and scene.
function backdrop(w, h, ratio) {
  const key = `${w} ${h} ${ratio} ${box}`;
  if (drawnTarget && drawnTarget.key === key) return drawnTarget.canvas;
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [Math.round(w * ratio), Math.round(h * ratio)];
  const pen = canvas.getContext("2d"), count = target.length / 2;
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.globalAlpha = 0.55;
  dots(pen, target, w, h, clamp(0.07 * Math.sqrt((w * h) / count), 0.8, 3.2), [numbers(count)], [theme.target]);
  drawnTarget = { key, canvas };
  return canvas;
}

function draw() {
  const { pen, w, h, ratio } = sized($("cloud")), { points, count } = frame;
  pen.clearRect(0, 0, w, h);
  pen.drawImage(backdrop(w, h, ratio), 0, 0, w, h);
  const groups = numbers(SHADES).map(() => []);
  for (let i = 0; i < count; i++) groups[shades[i] || 0].push(i);
  pen.globalAlpha = 0.9;
  dots(pen, points, w, h, clamp(0.09 * Math.sqrt((w * h) / count), 0.9, 4), groups, theme.wheel);
  pen.globalAlpha = 1;
  for (const stroke of strokes || []) line(pen, stroke.map((point) => onScreen(point, w, h)), theme.key, 3);
  if (frame.number !== draw.last) {
    if (frame.step < draw.step) history = [];
    [draw.last, draw.step] = [frame.number, frame.step];
    live.drawn += 1;
    countFrames();
    if (Number.isFinite(frame.speed) && frame.speed > 0) history.push(frame.speed);
    if (history.length > HISTORY) history.shift();
    curve();
    sayNumbers();
  }
}

// Frames of the last second.
function countFrames() {
  const now = performance.now();
  stamps.push(now);
  stamps = stamps.filter((stamp) => now - stamp < 1000);
  live.rate = stamps.length;
}

function sayNumbers() {
  const rows = { at: frame.step, t: frame.t, speed: frame.speed, value: frame.value, cost: 1000 * frame.seconds };
  for (const id in rows) $(id).textContent = short(rows[id]);
  $("rate").textContent = facts.running ? live.rate : "–";
}

function line(pen, path, colour, width) {
  pen.beginPath();
  path.forEach(([x, y], k) => (k ? pen.lineTo(x, y) : pen.moveTo(x, y)));
  [pen.strokeStyle, pen.lineWidth, pen.lineCap, pen.lineJoin] = [colour, width, "round", "round"];
  pen.stroke();
}

function curve() {
  const { pen, w, h } = sized($("curve"));
  pen.clearRect(0, 0, w, h);
  if (history.length < 2) return;
  const heights = history.map(Math.log10), low = Math.floor(Math.min(...heights)), high = Math.max(Math.ceil(Math.max(...heights)), low + 1);
  const y = (v) => h - 6 - ((v - low) / (high - low)) * (h - 12), left = 40;
  pen.font = "11px system-ui, sans-serif";
  pen.fillStyle = theme.quiet;
  for (const level of [low, high]) {
    line(pen, [[left, y(level)], [w - 4, y(level)]], theme.line, 1);
    pen.fillText(short(10 ** level), 4, clamp(y(level) + 4, 10, h - 3));
  }
  line(pen, heights.map((v, k) => [left + (k / (HISTORY - 1)) * (w - left - 6), y(v)]), theme.key, 1.5);
}

// ---------------------------------------------------------------- painting

// The page draws with positions from an origin near the cloud; strokes have true coordinates.
function onScreen([x, y], w, h) {
  const at = view(w, h), [x0, y0] = facts.origin;
  return [w / 2 + at.scale * (x - x0 - at.x), h / 2 - at.scale * (y - y0 - at.y)];
}
function inPlane(event) {
  const { left, top, width, height } = $("cloud").getBoundingClientRect(), at = view(width, height);
  return [at.x + (event.clientX - left - width / 2) / at.scale, at.y - (event.clientY - top - height / 2) / at.scale].map((v, k) => Number(v.toPrecision(5)) + facts.origin[k]);
}

// While one paints, the picture stands still, whatever the target.
function paint(on) {
  strokes = on ? [] : null;
  document.body.classList.toggle("painting", on);
  $("paint").setAttribute("aria-pressed", String(on));
  $("paint").textContent = on ? "Done" : "Paint a target";
  $("hint").hidden = !on;
  if (!on && facts) box = facts.box;
  if (frame) draw();
}

let stroke = null;
function bindPainting() {
  const canvas = $("cloud");
  canvas.addEventListener("pointerdown", (event) => {
    if (!strokes || event.button || !box) return;
    canvas.setPointerCapture(event.pointerId);
    stroke = { id: event.pointerId, points: [inPlane(event)], at: [event.clientX, event.clientY] };
    strokes.push(stroke.points);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!stroke || event.pointerId !== stroke.id || Math.hypot(event.clientX - stroke.at[0], event.clientY - stroke.at[1]) < APART) return;
    stroke.points.push(inPlane(event));
    stroke.at = [event.clientX, event.clientY];
    draw();
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => {
    if (!stroke || event.pointerId !== stroke.id) return;
    stroke = null;
    set({ target: "painted", strokes });
  });
}

// ---------------------------------------------------------------- keys and the beginning

const toggle = () => order(facts && facts.running ? "pause" : "run");
const ACTIONS = { run: toggle, step: () => order("step"), restart: () => order("restart"), paint: () => paint(!strokes) };
const KEYS = { " ": "run", ArrowRight: "step", r: "restart", R: "restart", p: "paint", P: "paint" };

document.addEventListener("keydown", (event) => {
  const name = KEYS[event.key], on = event.target.tagName;
  // what has the focus uses these keys itself
  if (!name || event.ctrlKey || event.metaKey || event.altKey || on === "SELECT") return;
  if ((on === "INPUT" && event.key === "ArrowRight") || (on === "BUTTON" && event.key === " ")) return;
  event.preventDefault();
  ACTIONS[name]();
});
for (const name in ACTIONS) $(name).addEventListener("click", ACTIONS[name]);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { learnTheme(); if (frame) draw(); });
addEventListener("resize", () => { if (frame) draw(); });
learnTheme();
bindPainting();
watch();
