"use strict";
// The player of particle flows. One state, `view`; every change asks for one new drawing.
// Words: a flow is a run; a record is a cloud that was saved; a place is a record's number with a
// fraction, between two records; u in [0, 1] is the moment that the slider shows.

const facts = JSON.parse(document.getElementById("facts").textContent);
const $ = (id) => document.getElementById(id);
const make = (tag, to, text) => {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (to) to.append(made);
  return made;
};
const clamp = (x, low, high) => Math.min(Math.max(x, low), high);
const SECONDS = 9;                 // of a whole run at speed 1
const HOLD = 1.2;                  // seconds that the last frame is held before the loop
const CROWD = 5000;                // points of a panel from which on WebGL draws
const SHADES = 32;                 // colours of a scale
const TRAILED = 800;               // particles that have trails

const view = {
  u: 0, playing: false, pace: "path", speed: 1, loop: true, colour: "flow", trails: 0.15,
  target: true, arrows: false, field: false, over: false, space: facts.dim === 3, images: false,
  axes: [0, Math.min(1, facts.labels.length - 1)], turn: [0.7, 0.42],
  centre: null, zoom: 1, alone: -1, dark: false, hover: -1, group: null, lasso: false,
};

// ---------------------------------------------------------------- reading the arrays

async function bytesOf(text) {
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// The inverse of pack.Bytes.series: second differences in time, zigzag, bytes apart.
// Returns one Float32Array (N * C) for each record, in units of `scale` around `middle`.
function series(bytes, block, scale, middle) {
  const [T, N, C] = block.shape, all = T * N * C;
  const low = bytes.subarray(block.at, block.at + all);
  const high = bytes.subarray(block.at + all, block.at + 2 * all);
  const whole = new Int16Array(all), records = [];
  for (let c = 0; c < C; c++) {
    for (let k = 0; k < T; k++) {
      const at = (c * T + k) * N;
      for (let i = 0; i < N; i++) {
        const folded = low[at + i] | (high[at + i] << 8);
        let q = (folded >>> 1) ^ -(folded & 1);
        if (k > 1) q += 2 * whole[at + i - N] - whole[at + i - 2 * N];
        else if (k > 0) q += whole[at + i - N];
        whole[at + i] = q;
      }
    }
  }
  for (let k = 0; k < T; k++) {
    const record = new Float32Array(N * C);
    for (let c = 0; c < C; c++) {
      const at = (c * T + k) * N, mid = middle ? middle[c] : 0;
      for (let i = 0; i < N; i++) record[i * C + c] = mid + scale * whole[at + i];
    }
    records.push(record);
  }
  return records;
}

function pictures(bytes, block) {
  const [T, ...rest] = block.shape, size = rest.reduce((a, b) => a * b, 1);
  const all = bytes.slice(block.at, block.at + T * size);
  for (let k = size; k < all.length; k++) all[k] += all[k - size];
  return Array.from({ length: T }, (_, k) => all.subarray(k * size, (k + 1) * size));
}

// ---------------------------------------------------------------- colours

const channels = (hex) => [1, 3, 5].map((k) => parseInt(hex.slice(k, k + 2), 16));
const css = (rgb, alpha = 1) => `rgba(${rgb[0]},${rgb[1]},${rgb[2]},${alpha})`;

function scale(stops) {
  const ends = stops.map(channels);
  return Array.from({ length: SHADES }, (_, k) => {
    const at = (k / (SHADES - 1)) * (ends.length - 1), j = Math.min(Math.floor(at), ends.length - 2);
    return ends[j].map((low, c) => Math.round(low + (at - j) * (ends[j + 1][c] - low)));
  });
}
// viridis without its ends, which vanish on a dark or a light ground
const VIRIDIS = scale(["#46327e", "#365c8d", "#277f8e", "#1fa187", "#4ac16d", "#a0da39"]);
// around the circle, of one lightness: where a particle began
const WHEEL = Array.from({ length: SHADES }, (_, k) => oklch(0.66, 0.14, (2 * Math.PI * k) / SHADES));
// blue below, red above: the witness
const TWO_SIDED = scale(["#2166ac", "#92c5de", "#f7f7f7", "#f4a582", "#b2182b"]);

function oklch(L, chroma, hue) {
  const a = chroma * Math.cos(hue), b = chroma * Math.sin(hue);
  const [l, m, s] = [L + 0.3963 * a + 0.2158 * b, L - 0.1056 * a - 0.0639 * b, L - 0.0895 * a - 1.2915 * b]
    .map((x) => x ** 3);
  return [4.0767 * l - 3.3077 * m + 0.231 * s, -1.2684 * l + 2.6098 * m - 0.3413 * s, -0.0042 * l - 0.7034 * m + 1.7076 * s]
    .map((x) => Math.round(255 * clamp(x > 0.0031 ? 1.055 * x ** (1 / 2.4) - 0.055 : 12.92 * x, 0, 1)));
}

const theme = {};
function readTheme() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["ground", "ink", "quiet", "line", "panel", "target", "key"]) {
    theme[name] = style.getPropertyValue("--" + name).trim();
  }
}

// ---------------------------------------------------------------- flows and time

let flows = [], targets = [], paces = {};

function prepare(bytes) {
  targets = facts.targets.map((target) => series(bytes, target.points, facts.step, facts.middle)[0]);
  flows = facts.flows.map((fact, index) => {
    const [T, N, C] = fact.positions.shape;
    const flow = {
      ...fact, index, T, N, C,
      rgb: channels(fact.colour),
      positions: series(bytes, fact.positions, facts.step, facts.middle),
      velocity: fact.velocity && series(bytes, fact.velocity.block, fact.velocity.unit),
      mass: fact.mass && series(bytes, fact.mass, 1 / 256),
      field: fact.field && { ...fact.field, values: pictures(bytes, fact.field.block) },
      pictures: fact.images && pictures(bytes, fact.images),
      target: facts.target_of[index] === null ? null : targets[facts.target_of[index]],
      now: new Float32Array(N * C), flat: new Float32Array(2 * N), shades: new Uint8Array(N),
    };
    flow.speeds = speedsOf(flow);
    flow.began = beganOf(flow);
    return flow;
  });
  paces = pacesOf();
}

// Speeds at each record: of the recorded velocity, else of the move to the next record.
function speedsOf(flow) {
  const { T, N, C } = flow;
  return Array.from({ length: T }, (_, k) => {
    const j = Math.min(k, T - 2), out = new Float32Array(N);
    if (!flow.velocity && T < 2) return out;
    const dt = flow.velocity ? 1 : flow.times[j + 1] - flow.times[j] || 1;
    for (let i = 0; i < N; i++) {
      let square = 0;
      for (let c = 0; c < C; c++) {
        const v = flow.velocity ? flow.velocity[k][i * C + c]
          : (flow.positions[j + 1][i * C + c] - flow.positions[j][i * C + c]) / dt;
        square += v * v;
      }
      out[i] = Math.sqrt(square);
    }
    return out;
  });
}

// Where each particle began, as a shade: its direction from the middle of the start, in d = 1 its rank.
function beganOf(flow) {
  const { N, C } = flow, start = flow.positions[0], out = new Uint8Array(N);
  if (C === 1) {
    const order = Array.from({ length: N }, (_, i) => i).sort((a, b) => start[a] - start[b]);
    order.forEach((i, rank) => { out[i] = Math.floor((rank / N) * SHADES); });
    return out;
  }
  let mx = 0, my = 0;
  for (let i = 0; i < N; i++) { mx += start[i * C] / N; my += start[i * C + 1] / N; }
  for (let i = 0; i < N; i++) {
    const angle = Math.atan2(start[i * C + 1] - my, start[i * C] - mx);
    out[i] = Math.floor((angle / (2 * Math.PI) + 0.5) * SHADES * 0.99999);
  }
  return out;
}

// x(v) by linear interpolation in the increasing table v.
function interpolate(v, table, values) {
  let low = 0, high = table.length - 1;
  if (v <= table[0]) return values[0];
  if (v >= table[high]) return values[high];
  while (high - low > 1) { const m = (low + high) >> 1; if (table[m] <= v) low = m; else high = m; }
  return values[low] + ((v - table[low]) / (table[high] - table[low])) * (values[high] - values[low]);
}
const numbers = (n) => Array.from({ length: n }, (_, k) => k);

// For each pace a function (flow, u) -> place. "path": all flows at one step, chosen so that the
// particles travel equally far in equal times, averaged over the flows.
function pacesOf() {
  const lastStep = Math.max(...flows.map((flow) => flow.steps[flow.T - 1]));
  const lastTime = Math.max(...flows.map((flow) => flow.times[flow.T - 1]));
  const steps = [...new Set(flows.flatMap((flow) => flow.steps))].sort((a, b) => a - b);
  const travelled = steps.map(() => 0);
  for (const flow of flows) {
    const length = [0];
    for (let k = 1; k < flow.T; k++) length.push(length[k - 1] + meanMove(flow, k));
    if (length[flow.T - 1] > 0) {
      steps.forEach((step, j) => { travelled[j] += interpolate(step, flow.steps, length) / length[flow.T - 1] / flows.length; });
    }
  }
  const whole = travelled[travelled.length - 1];
  const at = (flow, step) => interpolate(step, flow.steps, numbers(flow.T));
  const found = {
    path: (flow, u) => at(flow, whole > 0 ? interpolate(u * whole, travelled, steps) : u * lastStep),
    steps: (flow, u) => at(flow, u * lastStep),
    time: (flow, u) => interpolate(u * lastTime, flow.times, numbers(flow.T)),
  };
  const falls = flows.map((flow) => {
    const curve = flow.curves.find((each) => each.key === "W2");
    if (!curve || curve.values.some((w) => !(w > 0))) return null;
    const least = [];
    curve.values.forEach((w, k) => { least.push(Math.min(w, k ? least[k - 1] : w)); });
    return least.map((w) => -Math.log(w) + 0);
  });
  if (falls.every((fall) => fall)) {
    const first = Math.min(...falls.map((fall) => fall[0]));
    const last = Math.max(...falls.map((fall) => fall[fall.length - 1]));
    found["equal W2"] = (flow, u) => {
      const fall = falls[flow.index], level = first + u * (last - first);
      const curve = flow.curves.find((each) => each.key === "W2");
      const k = fall.findIndex((f) => f >= level);
      return k < 0 ? at(flow, curve.steps[fall.indexOf(fall[fall.length - 1])]) : at(flow, curve.steps[k]);
    };
  }
  return found;
}

function meanMove(flow, k) {
  const { N, C } = flow, a = flow.positions[k - 1], b = flow.positions[k], by = Math.max(1, Math.floor(N / 2000));
  let sum = 0, count = 0;
  for (let i = 0; i < N; i += by, count++) {
    let square = 0;
    for (let c = 0; c < C; c++) square += (b[i * C + c] - a[i * C + c]) ** 2;
    sum += Math.sqrt(square);
  }
  return sum / count;
}

const placeOf = (flow, u = view.u) => paces[view.pace](flow, u);
const stepOf = (flow, place) => interpolate(place, numbers(flow.T), flow.steps);

// Positions at a place, by linear interpolation between records, into flow.now.
function move(flow) {
  const place = placeOf(flow), k = Math.min(Math.floor(place), flow.T - 1), j = Math.min(k + 1, flow.T - 1);
  const f = place - k, a = flow.positions[k], b = flow.positions[j], out = flow.now;
  for (let i = 0; i < out.length; i++) out[i] = a[i] + f * (b[i] - a[i]);
  flow.place = place;
}

// ---------------------------------------------------------------- from space to the panel

const extent = facts.low.map((low, c) => facts.high[c] - low);
const oneLine = facts.dim === 1;

function home() {
  view.zoom = 1;
  view.centre = oneLine ? null : view.axes.map((c) => (facts.low[c] + facts.high[c]) / 2);
}

// How a panel of w by h pixels shows points (N, C): a function into pixels.
function projection(w, h, C) {
  if (oneLine) {
    const room = 34;
    const y = (x) => h - 14 - ((x - facts.low[0]) / extent[0]) * (h - 28);
    return { kind: "line", x: (u) => 10 + u * (w - room - 10), y };
  }
  if (view.space) {
    const half = Math.hypot(...extent.slice(0, 3)) / 2, unit = (0.47 * Math.min(w, h) * view.zoom) / half;
    const [turn, lift] = view.turn, [ct, st, cl, sl] = [Math.cos(turn), Math.sin(turn), Math.cos(lift), Math.sin(lift)];
    const mid = facts.low.map((low, c) => low + extent[c] / 2);
    return {
      kind: "space",
      to: (points, i, out, o) => {
        const x = points[i * C] - mid[0], y = points[i * C + 1] - mid[1], z = points[i * C + 2] - mid[2];
        const across = ct * x + st * y, into = -st * x + ct * y, up = cl * z - sl * into, depth = sl * z + cl * into;
        const near = 1 / (1 + (0.28 * depth) / half);
        out[o] = w / 2 + unit * across * near;
        out[o + 1] = h / 2 - unit * up * near;
        return near;
      },
    };
  }
  const [a, b] = view.axes, unit = view.zoom * Math.min(w / extent[a], h / extent[b]);
  const x0 = w / 2 - unit * view.centre[0], y0 = h / 2 + unit * view.centre[1];
  return {
    kind: "plane", unit,
    to: (points, i, out, o) => {
      out[o] = x0 + unit * points[i * C + a];
      out[o + 1] = y0 - unit * points[i * C + b];
      return 1;
    },
    back: (x, y) => [(x - x0) / unit, (y0 - y) / unit],
  };
}

function project(points, count, C, seen, out) {
  for (let i = 0; i < count; i++) seen.to(points, i, out, 2 * i);
  return out;
}

// ---------------------------------------------------------------- drawing points

const discs = new Map();
function disc(colour, radius) {
  const key = colour + radius;
  if (!discs.has(key)) {
    const side = Math.ceil(2 * radius) + 2, picture = make("canvas");
    picture.width = picture.height = side;
    const pen = picture.getContext("2d");
    pen.fillStyle = colour;
    pen.arc(side / 2, side / 2, radius, 0, 2 * Math.PI);
    pen.fill();
    if (discs.size > 4000) discs.clear();
    discs.set(key, picture);
  }
  return discs.get(key);
}

// Canvas: a picture of a disc for each shade.
function dots(pen, flat, count, shade, palette, radius, alpha, ratio) {
  const shown = palette.map((rgb) => disc(css(rgb), radius * ratio));
  const half = shown[0].width / ratio / 2, side = shown[0].width / ratio;
  for (let i = 0; i < count; i++) {
    const faint = view.group && !view.group[i];
    pen.globalAlpha = faint ? 0.12 * alpha : alpha;
    pen.drawImage(shown[shade ? shade[i] : 0], flat[2 * i] - half, flat[2 * i + 1] - half, side, side);
  }
  pen.globalAlpha = 1;
}

// WebGL2: all points of a panel in one call, on a canvas that is then copied.
const gl = {};
function points(pen, flat, count, shade, palette, radius, alpha, ratio, w, h) {
  if (gl.none || !(gl.on || startGL())) return dots(pen, flat, count, shade, palette, radius, alpha, ratio);
  const { on, canvas } = gl;
  if (canvas.width !== w * ratio || canvas.height !== h * ratio) { canvas.width = w * ratio; canvas.height = h * ratio; }
  on.viewport(0, 0, canvas.width, canvas.height);
  on.clearColor(0, 0, 0, 0);
  on.clear(on.COLOR_BUFFER_BIT);
  if (gl.colours === undefined || gl.colours.length < 4 * count) gl.colours = new Uint8Array(4 * count);
  for (let i = 0; i < count; i++) {
    const rgb = palette[shade ? shade[i] : 0];
    gl.colours[4 * i] = rgb[0]; gl.colours[4 * i + 1] = rgb[1]; gl.colours[4 * i + 2] = rgb[2];
    gl.colours[4 * i + 3] = 255 * alpha * (view.group && !view.group[i] ? 0.12 : 1);
  }
  on.bindBuffer(on.ARRAY_BUFFER, gl.where);
  on.bufferData(on.ARRAY_BUFFER, flat.subarray(0, 2 * count), on.STREAM_DRAW);
  on.vertexAttribPointer(0, 2, on.FLOAT, false, 0, 0);
  on.bindBuffer(on.ARRAY_BUFFER, gl.tint);
  on.bufferData(on.ARRAY_BUFFER, gl.colours.subarray(0, 4 * count), on.STREAM_DRAW);
  on.vertexAttribPointer(1, 4, on.UNSIGNED_BYTE, true, 0, 0);
  on.uniform3f(gl.size, w, h, 2 * radius * ratio + 1);
  on.drawArrays(on.POINTS, 0, count);
  pen.drawImage(canvas, 0, 0, w, h);
}

function startGL() {
  const canvas = make("canvas"), on = canvas.getContext("webgl2", { premultipliedAlpha: false, preserveDrawingBuffer: true });
  if (!on) { gl.none = true; return false; }
  const program = on.createProgram();
  const sources = [
    [on.VERTEX_SHADER, `#version 300 es
      layout(location = 0) in vec2 at; layout(location = 1) in vec4 tint; uniform vec3 size; out vec4 colour;
      void main() { gl_Position = vec4(2. * at.x / size.x - 1., 1. - 2. * at.y / size.y, 0., 1.); gl_PointSize = size.z; colour = tint; }`],
    [on.FRAGMENT_SHADER, `#version 300 es
      precision mediump float; in vec4 colour; out vec4 seen;
      void main() { float r = 2. * length(gl_PointCoord - .5); if (r > 1.) discard; seen = vec4(colour.rgb, colour.a); }`],
  ];
  for (const [kind, text] of sources) {
    const shader = on.createShader(kind);
    on.shaderSource(shader, text);
    on.compileShader(shader);
    on.attachShader(program, shader);
  }
  on.linkProgram(program);
  on.useProgram(program);
  on.enable(on.BLEND);
  on.blendFuncSeparate(on.SRC_ALPHA, on.ONE_MINUS_SRC_ALPHA, on.ONE, on.ONE_MINUS_SRC_ALPHA);
  on.enableVertexAttribArray(0);
  on.enableVertexAttribArray(1);
  Object.assign(gl, { on, canvas, where: on.createBuffer(), tint: on.createBuffer(), size: on.getUniformLocation(program, "size") });
  return true;
}

const paint = (pen, flat, count, ...rest) => (count > CROWD ? points : dots)(pen, flat, count, ...rest);
const radiusOf = (count, w, h) => clamp(0.075 * Math.sqrt((w * h) / count), 0.8, 4);

// ---------------------------------------------------------------- one panel

let panels = [];

function buildPanels() {
  const shown = view.alone >= 0 ? [flows[view.alone]] : flows;
  const groups = view.over ? [shown] : shown.map((flow) => [flow]);
  $("panels").replaceChildren();
  panels = groups.map((group) => {
    const figure = make("figure", $("panels")), caption = make("figcaption", figure);
    const captions = group.map((flow) => {
      const name = make("b", caption, flow.name), told = make("span", caption);
      name.style.setProperty("--flow", flow.colour);
      return { flow, told };
    });
    const canvas = make("canvas", figure);
    canvas.setAttribute("role", "img");
    const panel = { group, canvas, pen: canvas.getContext("2d"), captions };
    listen(panel);
    return panel;
  });
  layOut();
}

function layOut() {
  const wide = $("player").clientWidth, count = panels.length, phone = wide < 560;
  const columns = count === 1 ? 1 : phone ? 2 : count <= 4 ? Math.min(count, wide < 900 ? 2 : 4) : Math.ceil(count / 2) > 4 ? 4 : Math.ceil(count / 2);
  $("panels").style.setProperty("--columns", columns);
  const aspect = oneLine ? 0.62 : view.space || view.images ? 1 : clamp(extent[view.axes[1]] / extent[view.axes[0]], 0.45, 1.5);
  for (const panel of panels) {
    const width = panel.canvas.clientWidth || 300;
    const tallest = Math.max(220, window.innerHeight * (count > columns ? 0.36 : 0.6));
    panel.h = Math.round(Math.min(width * aspect, tallest));
    panel.w = width;
    panel.ratio = Math.min(window.devicePixelRatio || 1, 2);
    panel.canvas.style.height = panel.h + "px";
    panel.canvas.width = Math.round(width * panel.ratio);
    panel.canvas.height = Math.round(panel.h * panel.ratio);
  }
  for (const chart of charts) sizeChart(chart);
  ask();
}

function shadesOf(flow) {
  const palette = { flow: [flow.rgb], start: oneLine ? VIRIDIS : WHEEL }[view.colour] || VIRIDIS;
  if (view.colour === "flow") return { palette, shade: null };
  if (view.colour === "start") return { palette, shade: flow.began };
  const k = Math.round(flow.place), source = view.colour === "mass" ? flow.mass[k] : flow.speeds[k];
  const most = view.colour === "mass" ? 2 : topSpeed() || 1;
  for (let i = 0; i < flow.N; i++) {
    const value = view.colour === "mass" ? source[i] / most : Math.sqrt(source[i] / most);
    flow.shades[i] = clamp(Math.floor(value * SHADES), 0, SHADES - 1);
  }
  return { palette, shade: flow.shades };
}

// The 99 % quantile of all speeds at all records: the brightest shade.
let fastest;
function topSpeed() {
  if (fastest === undefined) {
    const some = flows.flatMap((flow) => flow.speeds.flatMap((speeds) => Array.from(speeds.filter((_, i) => i % Math.ceil(flow.N / 200) === 0))));
    some.sort((a, b) => a - b);
    fastest = some[Math.floor(0.99 * (some.length - 1))] || 0;
  }
  return fastest;
}

function drawPanel(panel) {
  const { pen, w, h, ratio, group } = panel;
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.fillStyle = theme.panel;
  pen.fillRect(0, 0, w, h);
  if (view.images) return drawImages(panel);
  const seen = projection(w, h, group[0].C);
  panel.seen = seen;
  if (seen.kind === "line") return drawLine(panel, seen);
  if (view.field) drawField(panel, seen);
  if (seen.kind === "space") drawFrame(pen, seen);
  if (view.target && group[0].target) {
    const target = group[0].target, C = group[0].C, count = target.length / C;
    const flat = panel.aim && panel.aim.length === 2 * count ? panel.aim : (panel.aim = new Float32Array(2 * count));
    const saved = view.group;
    view.group = null;
    paint(pen, project(target, count, C, seen, flat), count, null, [channels(theme.target)], radiusOf(count, w, h), 0.75, ratio, w, h);
    view.group = saved;
  }
  for (const flow of group) {
    if (view.trails > 0) drawTrails(pen, flow, seen);
    project(flow.now, flow.N, flow.C, seen, flow.flat);
    const { palette, shade } = shadesOf(flow);
    const alpha = flow.N > 20000 ? 0.35 : 0.9;
    paint(pen, flow.flat, flow.N, shade, palette, radiusOf(flow.N, w, h), alpha, ratio, w, h);
    if (view.arrows && flow.velocity) drawArrows(pen, flow, seen);
    if (view.hover >= 0 && view.hover < flow.N) drawHover(pen, flow, seen);
  }
  if (panel.loop && panel.loop.length > 1) outline(pen, panel.loop);
  if (seen.kind === "plane") names(pen, w, h);
}

function names(pen, w, h) {
  pen.fillStyle = theme.quiet;
  pen.font = "11px system-ui";
  pen.textAlign = "right";
  pen.fillText(facts.labels[view.axes[0]], w - 6, h - 6);
  pen.save();
  pen.translate(13, 6);
  pen.rotate(-Math.PI / 2);
  pen.fillText(facts.labels[view.axes[1]], 0, 0);
  pen.restore();
}

// The edges of the box, so that the eye finds space.
function drawFrame(pen, seen) {
  const corner = new Float32Array(3), a = [0, 0], b = [0, 0];
  const put = (k, out) => {
    for (let c = 0; c < 3; c++) corner[c] = (k >> c) & 1 ? facts.high[c] : facts.low[c];
    const far = projectOne(seen, corner, out);
    return far;
  };
  pen.strokeStyle = theme.line;
  pen.lineWidth = 1;
  pen.beginPath();
  for (let k = 0; k < 8; k++) {
    for (const c of [0, 1, 2]) {
      if ((k >> c) & 1) continue;
      put(k, a); put(k | (1 << c), b);
      pen.moveTo(a[0], a[1]); pen.lineTo(b[0], b[1]);
    }
  }
  pen.stroke();
}
const projectOne = (seen, point, out) => seen.to(point, 0, out, 0);

function tail(flow, i, from, to, seen, pen) {
  const out = [0, 0], first = Math.ceil(from);
  const at = (place) => {
    const k = Math.floor(place), j = Math.min(k + 1, flow.T - 1), f = place - k, point = new Float32Array(flow.C);
    for (let c = 0; c < flow.C; c++) point[c] = flow.positions[k][i * flow.C + c] * (1 - f) + flow.positions[j][i * flow.C + c] * f;
    seen.to(point, 0, out, 0);
    return out;
  };
  at(from);
  pen.moveTo(out[0], out[1]);
  for (let k = first; k < to; k++) { seen.to(flow.positions[k], i, out, 0); pen.lineTo(out[0], out[1]); }
  at(to);
  pen.lineTo(out[0], out[1]);
}

function drawTrails(pen, flow, seen) {
  const to = flow.place, from = Math.max(0, placeOf(flow, view.u - view.trails));
  if (to - from < 1e-6) return;
  const by = Math.ceil(flow.N / TRAILED), { palette, shade } = shadesOf(flow);
  pen.lineWidth = 1;
  // the older half is fainter
  for (const [start, end, alpha] of [[from, (from + to) / 2, 0.16], [(from + to) / 2, to, 0.36]]) {
    for (let s = 0; s < palette.length; s++) {
      pen.beginPath();
      for (let i = 0; i < flow.N; i += by) {
        if ((shade ? shade[i] : 0) === s && !(view.group && !view.group[i])) tail(flow, i, start, end, seen, pen);
      }
      pen.strokeStyle = css(palette[s], view.trails >= 1 ? alpha / 1.5 : alpha);
      pen.stroke();
    }
  }
}

function drawHover(pen, flow, seen) {
  const i = view.hover, out = [0, 0];
  pen.beginPath();
  tail(flow, i, 0, flow.T - 1, seen, pen);
  pen.strokeStyle = theme.ink;
  pen.lineWidth = 1.6;
  pen.stroke();
  seen.to(flow.now, i, out, 0);
  pen.beginPath();
  pen.arc(out[0], out[1], 6, 0, 2 * Math.PI);
  pen.lineWidth = 2;
  pen.stroke();
}

function drawArrows(pen, flow, seen) {
  const k = Math.round(flow.place), by = Math.ceil(flow.N / 600), a = [0, 0], b = [0, 0];
  const most = Math.max(1e-30, topSpeed()), longest = 0.09 * Math.max(...extent), point = new Float32Array(flow.C);
  pen.beginPath();
  for (let i = 0; i < flow.N; i += by) {
    seen.to(flow.now, i, a, 0);
    for (let c = 0; c < flow.C; c++) point[c] = flow.now[i * flow.C + c] + (longest / most) * flow.velocity[k][i * flow.C + c];
    seen.to(point, 0, b, 0);
    const angle = Math.atan2(b[1] - a[1], b[0] - a[0]), head = Math.min(5, Math.hypot(b[0] - a[0], b[1] - a[1]) / 2);
    pen.moveTo(a[0], a[1]);
    pen.lineTo(b[0], b[1]);
    for (const side of [-2.6, 2.6]) { pen.moveTo(b[0], b[1]); pen.lineTo(b[0] + head * Math.cos(angle + side), b[1] + head * Math.sin(angle + side)); }
  }
  pen.strokeStyle = css(channels(view.dark ? "#ffffff" : "#1b2028"), 0.65);
  pen.lineWidth = 1;
  pen.stroke();
}

function drawField(panel, seen) {
  const flow = panel.group[0];
  if (!flow.field || seen.kind !== "plane") return;
  const { side, low, high, records, values } = flow.field;
  const step = stepOf(flow, flow.place);
  let k = 0;
  while (k + 1 < records.length && records[k + 1] <= step) k++;
  const picture = make("canvas");
  picture.width = picture.height = side;
  const brush = picture.getContext("2d"), data = brush.createImageData(side, side);
  for (let j = 0; j < side * side; j++) {
    const rgb = TWO_SIDED[Math.min(SHADES - 1, (values[k][j] * SHADES) >> 8)];
    data.data.set([...rgb, 150], 4 * (j % side + (side - 1 - Math.floor(j / side)) * side));
  }
  brush.putImageData(data, 0, 0);
  const a = [0, 0], b = [0, 0];
  seen.to(low, 0, a, 0);
  seen.to(high, 0, b, 0);
  panel.pen.imageSmoothingEnabled = true;
  panel.pen.drawImage(picture, a[0], b[1], b[0] - a[0], a[1] - b[1]);
}

// d = 1: each path against the moment, the target's points at the right edge.
function drawLine(panel, seen) {
  const { pen, w, h, group } = panel;
  if (view.target && group[0].target) {
    pen.fillStyle = css(channels(theme.target), 0.5);
    for (const x of group[0].target) pen.fillRect(w - 26, seen.y(x) - 0.75, 20, 1.5);
  }
  for (const flow of group) {
    const { palette, shade } = shadesOf(flow), by = Math.ceil(flow.N / 1500), last = flow.place;
    const us = momentsOf(flow);
    pen.lineWidth = flow.N > 300 ? 0.7 : 1.1;
    for (let s = 0; s < palette.length; s++) {
      pen.beginPath();
      for (let i = 0; i < flow.N; i += by) {
        if ((shade ? shade[i] : 0) !== s) continue;
        pen.moveTo(seen.x(us[0]), seen.y(flow.positions[0][i]));
        for (let k = 1; k <= Math.floor(last); k++) pen.lineTo(seen.x(us[k]), seen.y(flow.positions[k][i]));
        pen.lineTo(seen.x(view.u), seen.y(flow.now[i]));
      }
      pen.strokeStyle = css(palette[s], flow.N > 300 ? 0.4 : 0.6);
      pen.stroke();
    }
    for (let i = 0; i < flow.N; i++) { flow.flat[2 * i] = seen.x(view.u); flow.flat[2 * i + 1] = seen.y(flow.now[i]); }
    dots(pen, flow.flat, flow.N, shade, palette, 2, 0.9, panel.ratio);
    if (view.hover >= 0 && view.hover < flow.N) {
      pen.beginPath();
      flow.positions.forEach((record, k) => pen.lineTo(seen.x(us[k]), seen.y(record[view.hover])));
      pen.strokeStyle = theme.ink;
      pen.lineWidth = 2;
      pen.stroke();
    }
  }
  pen.fillStyle = theme.quiet;
  pen.font = "11px system-ui";
  pen.textAlign = "left";
  pen.fillText(`${facts.labels[0]}, from ${short(facts.low[0])} to ${short(facts.high[0])}; across: ${view.pace}`, 12, 13);
}

// The moment u of each record, for the present pace.
function momentsOf(flow) {
  const table = numbers(201).map((j) => paces[view.pace](flow, j / 200));
  return numbers(flow.T).map((k) => { const j = table.findIndex((p) => p >= k - 1e-9); return j < 0 ? 1 : j / 200; });
}

function drawImages(panel) {
  const flow = panel.group[0], [rows, columns] = facts.images, { pen, w, h } = panel;
  const count = flow.pictures[0].length / (rows * columns), across = Math.ceil(Math.sqrt((count * w) / h));
  const side = Math.min(w / across, h / Math.ceil(count / across)), k = Math.round(flow.place);
  const sheet = make("canvas");
  sheet.width = across * columns;
  sheet.height = Math.ceil(count / across) * rows;
  const brush = sheet.getContext("2d"), data = brush.createImageData(sheet.width, sheet.height);
  for (let i = 0; i < count; i++) {
    for (let p = 0; p < rows * columns; p++) {
      const x = (i % across) * columns + (p % columns), y = Math.floor(i / across) * rows + Math.floor(p / columns);
      const ink = flow.pictures[k][i * rows * columns + p], grey = view.dark ? ink : 255 - ink;
      data.data.set([grey, grey, grey, 255], 4 * (y * sheet.width + x));
    }
  }
  brush.putImageData(data, 0, 0);
  pen.imageSmoothingEnabled = false;
  pen.drawImage(sheet, (w - across * side) / 2, 4, across * side, (sheet.height / rows) * side);
}

function outline(pen, loop) {
  pen.beginPath();
  loop.forEach(([x, y]) => pen.lineTo(x, y));
  pen.setLineDash([5, 4]);
  pen.strokeStyle = theme.key;
  pen.lineWidth = 1.5;
  pen.stroke();
  pen.setLineDash([]);
}

// ---------------------------------------------------------------- curves under one cursor

let charts = [];
const short = (x) => (x === null || !isFinite(x) ? "-" : Math.abs(x) >= 1e4 || (x !== 0 && Math.abs(x) < 1e-3) ? x.toExponential(1) : String(+x.toPrecision(3)));

function buildCharts() {
  const kinds = new Map();
  for (const flow of flows) {
    for (const curve of flow.curves) {
      // energies of two flows are two functionals: a chart each
      const key = curve.key === "energy" ? `energy of ${flow.name}` : curve.key;
      if (!kinds.has(key)) kinds.set(key, { title: curve.key === "energy" ? key : curve.label, lines: [] });
      kinds.get(key).lines.push({ flow, curve, floor: curve.floor });
    }
  }
  charts = [...kinds.values(), { title: "speed of the particles (share of them)", speeds: true }].map((chart) => {
    const box = make("div", $("curves"));
    make("h2", box, chart.title);
    const canvas = make("canvas", box);
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", chart.title);
    const scrub = (event) => { if (event.buttons && !chart.speeds) go((event.offsetX - 44) / (chart.w - 128)); };
    canvas.addEventListener("pointerdown", scrub);
    canvas.addEventListener("pointermove", scrub);
    return Object.assign(chart, { canvas, pen: canvas.getContext("2d") });
  });
}

function sizeChart(chart) {
  chart.w = chart.canvas.clientWidth || 300;
  chart.h = 150;
  chart.ratio = Math.min(window.devicePixelRatio || 1, 2);
  chart.canvas.style.height = chart.h + "px";
  chart.canvas.width = Math.round(chart.w * chart.ratio);
  chart.canvas.height = Math.round(chart.h * chart.ratio);
}

function ticksOf(low, high, log) {
  const found = [];
  if (log) {
    for (let e = Math.floor(Math.log10(low)); e <= Math.log10(high); e++) {
      for (const m of high / low > 300 ? [1] : [1, 2, 5]) { const x = m * 10 ** e; if (x >= low && x <= high) found.push(x); }
    }
    return found;
  }
  const raw = (high - low) / 4 || 1, unit = 10 ** Math.floor(Math.log10(raw)), by = [1, 2, 5, 10].find((m) => m * unit >= raw) * unit;
  for (let x = Math.ceil(low / by) * by; x <= high; x += by) found.push(Math.abs(x) < by * 1e-6 ? 0 : x);
  return found;
}

function drawChart(chart) {
  const { pen, w, h, ratio } = chart;
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.fillStyle = theme.panel;
  pen.fillRect(0, 0, w, h);
  if (chart.speeds) return drawSpeeds(chart);
  const lines = chart.lines.filter(({ flow }) => view.alone < 0 || flow.index === view.alone);
  const all = lines.flatMap(({ curve, floor }) => [...curve.values, floor]).filter((v) => v !== null && isFinite(v));
  if (!all.length) return;
  let low = Math.min(...all), high = Math.max(...all);
  const log = low > 0 && high / low > 3;
  if (log) { low *= 0.8; high *= 1.25; } else { const room = 0.08 * (high - low) || 1; low -= room; high += room; }
  const to = (v) => h - 12 - (log ? Math.log(v / low) / Math.log(high / low) : (v - low) / (high - low)) * (h - 22);
  const x = (u) => 44 + u * (w - 128);
  pen.font = "11px system-ui";
  pen.textAlign = "right";
  for (const tick of ticksOf(low, high, log)) {
    pen.fillStyle = theme.quiet;
    pen.fillText(short(tick), 40, to(tick) + 4);
    line(pen, [[44, to(tick)], [w - 84, to(tick)]], theme.line, 1);
  }
  pen.textAlign = "left";
  const labels = [];
  for (const { flow, curve, floor } of lines) {
    if (floor > 0) line(pen, [[44, to(floor)], [w - 84, to(floor)]], theme.quiet, 1, [4, 4]);
    if (floor > 0) labels.push({ y: to(floor), text: "two fresh samples", colour: theme.quiet, floor: true });
    const path = [];
    for (let j = 0; j <= 200; j++) {
      const v = interpolate(stepOf(flow, placeOf(flow, j / 200)), curve.steps, curve.values);
      if (v !== null && isFinite(v) && !(log && v <= 0)) path.push([x(j / 200), to(v)]);
    }
    line(pen, path, flow.colour, 2);
    const now = interpolate(stepOf(flow, flow.place), curve.steps, curve.values);
    if (now !== null && isFinite(now) && !(log && now <= 0)) { pen.beginPath(); pen.arc(x(view.u), to(now), 3.5, 0, 7); pen.fillStyle = flow.colour; pen.fill(); }
    if (path.length) labels.push({ y: path[path.length - 1][1], text: flow.name, colour: theme.ink });
  }
  spread(labels, h).forEach(({ y, text, colour }) => { pen.fillStyle = colour; pen.fillText(text, w - 80, y + 4, 78); });
  line(pen, [[x(view.u), 4], [x(view.u), h - 10]], theme.ink, 1);
}

// Labels at line ends, 12 pixels apart; of several floors at one height one label.
function spread(labels, h) {
  const kept = labels.filter((label, k) => !label.floor || labels.findIndex((other) => other.floor && Math.abs(other.y - label.y) < 12) === k);
  kept.sort((a, b) => a.y - b.y);
  kept.forEach((label, k) => { if (k) label.y = Math.max(label.y, kept[k - 1].y + 12); });
  for (let k = kept.length - 1, most = h - 6; k >= 0; k--, most -= 12) kept[k].y = Math.min(kept[k].y, most);
  return kept;
}

function line(pen, path, colour, width, dash = []) {
  pen.beginPath();
  path.forEach(([x, y]) => pen.lineTo(x, y));
  pen.setLineDash(dash);
  pen.strokeStyle = colour;
  pen.lineWidth = width;
  pen.stroke();
  pen.setLineDash([]);
}

function drawSpeeds({ pen, w, h }) {
  const top = topSpeed() || 1, bins = 36, decades = 4;
  const x = (v) => 12 + clamp(1 + Math.log10(Math.max(v, 1e-30) / top / 1.5) / decades, 0, 1) * (w - 24);
  for (const flow of flows) {
    if (view.alone >= 0 && flow.index !== view.alone) continue;
    const counts = new Array(bins).fill(0), speeds = flow.speeds[Math.round(flow.place)];
    for (const v of speeds) counts[Math.min(bins - 1, Math.floor(((x(v) - 12) / (w - 24)) * bins))] += 1;
    line(pen, counts.flatMap((n, k) => [k, k + 1].map((at) => [12 + (at * (w - 24)) / bins, h - 18 - Math.min(1, (2.5 * n) / flow.N) * (h - 28)])), flow.colour, 1.8);
  }
  pen.fillStyle = theme.quiet;
  pen.font = "11px system-ui";
  for (let e = Math.ceil(Math.log10(top) - decades + 0.3); e <= Math.log10(1.5 * top); e++) {
    pen.textAlign = "center";
    pen.fillText(short(10 ** e), x(10 ** e), h - 5);
  }
}

// ---------------------------------------------------------------- one drawing of everything

let asked = false;
function ask() {
  if (!asked) { asked = true; requestAnimationFrame(draw); }
}

function draw() {
  asked = false;
  const began = performance.now();
  for (const flow of flows) move(flow);
  for (const panel of panels) drawPanel(panel);
  for (const chart of charts) drawChart(chart);
  tell();
  player.milliseconds = performance.now() - began;
}

function tell() {
  $("scrub").value = view.u;
  $("play").textContent = view.playing ? "Pause" : "Play";
  const steps = flows.map((flow) => Math.round(stepOf(flow, flow.place)));
  const times = flows.map((flow) => interpolate(flow.place, numbers(flow.T), flow.times));
  const one = steps.every((step) => step === steps[0]);
  $("moment").textContent = one ? `step ${steps[0]}` + (times.every((t) => Math.abs(t - times[0]) < 1e-9) ? `, t = ${short(times[0])}` : "") : `steps ${steps.join(", ")}`;
  for (const panel of panels) {
    for (const { flow, told } of panel.captions) {
      const curve = flow.curves.find((each) => each.key === "W2");
      const w2 = curve && interpolate(stepOf(flow, flow.place), curve.steps, curve.values);
      const ended = flow.place > flow.T - 1.001 ? `, ${flow.status}` : "";
      told.textContent = (curve ? `W2 ${short(w2)}${curve.floor ? ` (floor ${short(curve.floor)})` : ""}` : "") + ended.slice(curve ? 0 : 2);
    }
    panel.canvas.setAttribute("aria-label", `${panel.group.map((flow) => flow.name).join(", ")}: ${$("moment").textContent}`);
  }
}

let before = 0, held = 0;
function tick(now) {
  if (!view.playing) return;
  const passed = Math.min(0.1, (now - before) / 1000);
  before = now;
  if (view.u < 1) { view.u = Math.min(1, view.u + (passed * view.speed) / SECONDS); held = 0; ask(); }
  else if ((held += passed) > HOLD) { if (view.loop) { view.u = 0; held = 0; ask(); } else return play(false); }
  requestAnimationFrame(tick);
}

function play(on) {
  view.playing = on;
  if (on) { if (view.u >= 1) view.u = 0; before = performance.now(); held = 0; requestAnimationFrame(tick); }
  else remember();
  ask();
}

function go(u) { view.u = clamp(u, 0, 1); play(false); }

// One record on or back, of the flow with most records.
function nudge(by) {
  const flow = flows.reduce((a, b) => (b.T > a.T ? b : a)), aim = Math.round(placeOf(flow)) + by;
  let best = view.u, off = Infinity;
  for (let j = 0; j <= 1000; j++) { const far = Math.abs(placeOf(flow, j / 1000) - clamp(aim, 0, flow.T - 1)); if (far < off - 1e-9) { off = far; best = j / 1000; } }
  go(best);
}

// ---------------------------------------------------------------- pointer, touch and keys

function listen(panel) {
  const { canvas } = panel, fingers = new Map();
  let apart = 0;
  const here = (event) => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, here(event));
    if (view.lasso || event.shiftKey) panel.loop = [here(event)];
  });
  canvas.addEventListener("pointermove", (event) => {
    const at = here(event), was = fingers.get(event.pointerId);
    if (!was) return point(panel, at, event);
    fingers.set(event.pointerId, at);
    if (panel.loop) panel.loop.push(at);
    else if (fingers.size === 2) {
      const [a, b] = [...fingers.values()], far = Math.hypot(a[0] - b[0], a[1] - b[1]);
      if (apart) zoom(panel, [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2], far / apart);
      apart = far;
    } else if (view.space) { view.turn[0] += (at[0] - was[0]) / 150; view.turn[1] = clamp(view.turn[1] + (at[1] - was[1]) / 150, -1.5, 1.5); }
    else if (panel.seen && panel.seen.kind === "plane") {
      view.centre[0] -= (at[0] - was[0]) / panel.seen.unit;
      view.centre[1] += (at[1] - was[1]) / panel.seen.unit;
    }
    ask();
  });
  const lift = (event) => {
    fingers.delete(event.pointerId);
    apart = 0;
    if (panel.loop) { follow(panel); panel.loop = null; ask(); }
    remember();
  };
  canvas.addEventListener("pointerup", lift);
  canvas.addEventListener("pointercancel", lift);
  canvas.addEventListener("pointerleave", () => { view.hover = -1; $("tip").hidden = true; ask(); });
  canvas.addEventListener("dblclick", reset);
  canvas.addEventListener("wheel", (event) => { if (!oneLine) { event.preventDefault(); zoom(panel, here(event), Math.exp(-event.deltaY / 400)); } }, { passive: false });
}

function zoom(panel, at, factor) {
  if (!panel.seen || panel.seen.kind === "line") return;
  const before = panel.seen.back && panel.seen.back(...at), next = clamp(view.zoom * factor, 0.2, 200);
  if (before) view.centre = before.map((x, k) => x + (view.centre[k] - x) * (view.zoom / next));
  view.zoom = next;
  ask();
}

// The particle under the pointer: its path in every flow.
function point(panel, at, event) {
  let best = 144, found = null;
  for (const flow of view.images ? [] : panel.group) {
    for (let i = 0; i < flow.N; i++) {
      const far = (flow.flat[2 * i] - at[0]) ** 2 + (flow.flat[2 * i + 1] - at[1]) ** 2;
      if (far < best) { best = far; found = [flow, i]; }
    }
  }
  view.hover = found ? found[1] : -1;
  $("tip").hidden = !found;
  if (found) {
    const [flow, i] = found, box = $("player").getBoundingClientRect();
    const where = numbers(Math.min(flow.C, 3)).map((c) => short(flow.now[i * flow.C + c])).join(", ");
    $("tip").textContent = `particle ${i}  (${where})  speed ${short(flow.speeds[Math.round(flow.place)][i])}`;
    $("tip").style.left = clamp(event.clientX - box.left + 14, 0, Math.max(0, box.width - $("tip").offsetWidth - 4)) + "px";
    $("tip").style.top = event.clientY - box.top + 16 + "px";
  }
  ask();
}

// The particles inside the loop, by number, in every flow.
function follow(panel) {
  const loop = panel.loop, flow = panel.group[0], most = Math.max(...flows.map((each) => each.N));
  const inside = (x, y) => {
    let odd = false;
    for (let k = 0, j = loop.length - 1; k < loop.length; j = k++) {
      const [a, b] = loop[k], [c, d] = loop[j];
      if (b > y !== d > y && x < ((c - a) * (y - b)) / (d - b) + a) odd = !odd;
    }
    return odd;
  };
  const group = new Uint8Array(most);
  for (let i = 0; i < flow.N; i++) group[i] = inside(flow.flat[2 * i], flow.flat[2 * i + 1]) ? 1 : 0;
  view.group = group.some((x) => x) ? group : null;
}

function reset() { home(); view.group = null; view.alone = -1; view.turn = [0.7, 0.42]; buildPanels(); remember(); }
function flip(name) { const box = $(name); box.checked = !box.checked; box.dispatchEvent(new Event("change")); }
let trailed = 1;
const KEYS = {
  " ": () => play(!view.playing), ArrowRight: (e) => (e.shiftKey ? go(view.u + 0.1) : nudge(1)), ArrowLeft: (e) => (e.shiftKey ? go(view.u - 0.1) : nudge(-1)),
  Home: () => go(0), End: () => go(1), t: () => { [view.trails, trailed] = view.trails > 0 ? [0, view.trails] : [trailed, 0]; $("trails").value = view.trails; ask(); },
  w: () => flip("field"), f: () => $("full").click(), d: () => $("dark").click(), l: () => flip("loop"), Escape: reset,
};
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "SELECT") return;
  if (event.key === " " && event.target.tagName === "BUTTON") return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key, act = KEYS[key];
  const flow = /^[1-9]$/.test(key) ? +key - 1 : -1;
  if (!act && !(flow >= 0 && flow < flows.length)) return;
  event.preventDefault();
  if (act) act(event);
  else { view.alone = view.alone === flow ? -1 : flow; buildPanels(); }
});

// ---------------------------------------------------------------- controls and bookmarks

const REMEMBERED = { u: Number, pace: String, speed: Number, colour: String, trails: Number, dark: Boolean, over: Boolean, arrows: Boolean, field: Boolean, target: Boolean, space: Boolean, images: Boolean, alone: Number, zoom: Number };
const initial = { ...view };

function remember() {
  const parts = Object.keys(REMEMBERED).filter((key) => view[key] !== initial[key]).map((key) => `${key}=${typeof view[key] === "number" ? +view[key].toFixed(4) : view[key]}`);
  if (view.centre && view.zoom !== 1) parts.push(`at=${view.centre.map((x) => +x.toPrecision(5)).join(",")}`);
  if (view.axes.join() !== initial.axes.join()) parts.push(`axes=${view.axes.join()}`);
  try { history.replaceState(null, "", "#" + parts.join("&")); } catch { /* a page within a page may have no address */ }
}

function recall() {
  const asked = new URLSearchParams(location.hash.slice(1));
  for (const [key, kind] of Object.entries(REMEMBERED)) {
    if (!asked.has(key)) continue;
    const value = kind === Boolean ? asked.get(key) === "true" : kind(asked.get(key));
    if (kind !== Number || isFinite(value)) view[key] = value;
  }
  const pair = (name) => (asked.get(name) || "").split(",").map(Number);
  if (pair("axes").every((c) => c >= 0 && c < facts.labels.length) && asked.has("axes")) view.axes = pair("axes");
  home();
  if (asked.has("zoom") && isFinite(+asked.get("zoom"))) view.zoom = +asked.get("zoom");
  if (asked.has("at") && pair("at").every(isFinite) && !oneLine) view.centre = pair("at");
  if (!(view.pace in paces)) view.pace = "path";
  if (view.alone >= flows.length) view.alone = -1;
  return asked.has("u");
}

function choices(id, names, value) {
  for (const name of names) { const option = make("option", $(id), name); option.value = name; }
  $(id).value = value;
}

function bind(id, event, act) { $(id).addEventListener(event, () => { act($(id)); remember(); ask(); }); }

function buildControls() {
  const colours = ["flow", "start", "speed", ...(flows.every((flow) => flow.mass) ? ["mass"] : [])];
  const views = [...(facts.dim === 3 ? ["space"] : []), "side by side", ...(flows.length > 1 && !oneLine ? ["overlaid"] : []), ...(facts.images ? ["pictures"] : [])];
  if (!colours.includes(view.colour)) view.colour = "flow";
  choices("pace", Object.keys(paces), view.pace);
  choices("colour", colours, view.colour);
  choices("view", views, view.images ? "pictures" : view.space ? "space" : view.over ? "overlaid" : "side by side");
  $("view").parentElement.hidden = views.length < 2;
  for (const [k, id] of [[0, "across"], [1, "up"]]) {
    facts.labels.forEach((label, c) => { make("option", $(id), label).value = c; });
    $(id).value = view.axes[k];
    $(id).parentElement.hidden = facts.labels.length < 3;
    bind(id, "change", (box) => { view.axes[k] = +box.value; home(); layOut(); });
  }
  for (const name of ["target", "arrows", "field", "loop", "lasso"]) { $(name).checked = view[name]; bind(name, "change", (box) => { view[name] = box.checked; }); }
  $("arrows-label").hidden = !flows.some((flow) => flow.velocity);
  $("field-label").hidden = !flows.some((flow) => flow.field);
  $("target").parentElement.hidden = !targets.length;
  $("trails").value = view.trails;
  $("speed").value = view.speed;
  bind("scrub", "input", (box) => go(+box.value));
  bind("trails", "input", (box) => { view.trails = +box.value; });
  bind("pace", "change", (box) => { view.pace = box.value; });
  bind("speed", "change", (box) => { view.speed = +box.value; });
  bind("colour", "change", (box) => { view.colour = box.value; });
  bind("view", "change", (box) => { view.over = box.value === "overlaid"; view.space = box.value === "space"; view.images = box.value === "pictures"; buildPanels(); });
  bind("play", "click", () => play(!view.playing));
  bind("reset", "click", reset);
  bind("dark", "click", () => setDark(!view.dark));
  bind("full", "click", () => (document.fullscreenElement ? document.exitFullscreen() : $("player").requestFullscreen()));
  bind("picture", "click", savePicture);
  bind("link", "click", () => { remember(); copy($("link"), location.href); });
  bind("python", "click", () => copy($("python"), python()));
}

function setDark(on) {
  view.dark = on;
  document.documentElement.classList.toggle("dark", on);
  $("dark").textContent = on ? "Light" : "Dark";
  readTheme();
  ask();
}

async function copy(button, text) {
  const label = button.textContent;
  try { await navigator.clipboard.writeText(text); button.textContent = "Copied"; } catch { window.prompt("Copy:", text); }
  setTimeout(() => { button.textContent = label; }, 1200);
}

const python = () => facts.python || flows.map(({ name, settings }) => `# ${name}\n` + Object.entries(settings).map(([key, value]) => `# ${key}: ${value}`).join("\n")).join("\n\n");

// The frame: title, moment and panels, as they are on the page.
function savePicture() {
  const all = [...document.querySelectorAll("#panels canvas")], page = $("panels").getBoundingClientRect(), ratio = panels[0].ratio;
  const sheet = make("canvas"), top = 70, pen = sheet.getContext("2d");
  sheet.width = page.width * ratio;
  sheet.height = (page.height + top) * ratio;
  pen.scale(ratio, ratio);
  pen.fillStyle = theme.ground;
  pen.fillRect(0, 0, page.width, page.height + top);
  pen.fillStyle = theme.ink;
  pen.font = "600 22px system-ui";
  pen.fillText(facts.title, 4, 28);
  pen.font = "14px system-ui";
  pen.fillText($("moment").textContent, 4, 50);
  all.forEach((canvas, k) => {
    const box = canvas.getBoundingClientRect(), x = box.left - page.left, y = box.top - page.top + top;
    pen.drawImage(canvas, x, y, box.width, box.height);
    pen.fillText(panels[k].captions.map(({ flow, told }) => `${flow.name}  ${told.textContent}`).join("   "), x, y - 6);
  });
  const anchor = make("a");
  anchor.download = `frame-${Math.round(1000 * view.u)}.png`;
  anchor.href = sheet.toDataURL("image/png");
  anchor.click();
}

function buildSettings() {
  $("remark").textContent = facts.remark;
  $("remark").hidden = !facts.remark;
  const table = make("table", $("settings"));
  for (const flow of flows) {
    const row = make("tr", table);
    make("th", row, flow.name);
    make("td", row, [flow.status + (flow.message ? `: ${flow.message}` : ""), ...Object.entries(flow.settings).map(([key, value]) => `${key} ${value}`)].join("; "));
  }
}

// ---------------------------------------------------------------- start

const player = { view, milliseconds: 0, ready: false, go, draw, get flows() { return flows; }, get panels() { return panels; }, get charts() { return charts; } };
window.player = player;

async function start() {
  prepare(await bytesOf($("arrays").textContent.trim()));
  view.dark = matchMedia("(prefers-color-scheme: dark)").matches;
  initial.dark = view.dark;
  const placed = recall();
  setDark(view.dark);
  buildControls();
  buildCharts();
  buildSettings();
  buildPanels();
  new ResizeObserver(layOut).observe($("player"));
  addEventListener("hashchange", () => { recall(); buildPanels(); });
  draw();
  player.ready = true;
  if (!placed && !matchMedia("(prefers-reduced-motion: reduce)").matches) play(true);
}
start();
