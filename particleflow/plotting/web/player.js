// The player of particle flows: one state, `view`; every change asks for one new drawing.
// A flow is a run. A record is a cloud that was saved. A place is a record's number with a fraction,
// between two records. The moment u in [0, 1] is what the slider shows.

const facts = JSON.parse(document.getElementById("facts").textContent);
// Tones: of a quantity; of a signed one, negative first; around the circle.
const [RISING, SIGNED, AROUND] = ["rising", "signed", "around"].map((name) => scale(facts.palettes[name]));
const SECONDS = 9;    // of a whole run at speed 1
const HOLD = 1.2;     // seconds that the last frame is held before the loop
const TRAILED = 800;  // particles of a flow that have trails
const MOMENTS = 200;  // moments at which a pace is tabulated
const NARROW = 170;   // pixels of the narrowest panel beside another one
const PICTURE = 46;   // pixels of the smallest side of a particle that is shown as a picture
const CELL = 15;      // pixels of a square in which one arrow begins at most

const view = {
  u: 0, playing: false, pace: "path", speed: 1, loop: true, colour: "flow", trails: 0.15, dark: false,
  target: true, arrows: false, heat: false, over: false, space: facts.dim === 3 && !facts.images, images: Boolean(facts.images), lasso: false,
  axes: [0, Math.min(1, facts.labels.length - 1)], turn: [0.7, 0.42], centre: null, zoom: 1,
  alone: -1, hover: -1, group: null, card: false,
};
const line1d = facts.dim === 1;
const extent = facts.low.map((low, c) => facts.high[c] - low);
// Coordinates are distances from the middle of the picture. What the reader is told is not.
const middle = facts.middle.map(Number);
const coordinate = (c, x) => String(+(middle[c] + x).toPrecision(clamp(3 + Math.ceil(Math.log10(Math.abs(middle[c] + x) / extent[c] || 1)), 3, 17)));
let flows = [], targets = [], panels = [], charts = [], paces = {};

// ---------------------------------------------------------------- light and dark

const theme = {};
function setDark(on) {
  view.dark = on;
  document.documentElement.classList.toggle("dark", on);
  $("dark").textContent = on ? "Light" : "Dark";
  const style = getComputedStyle(document.documentElement);
  for (const name of ["ground", "ink", "quiet", "line", "panel", "target", "key"]) theme[name] = style.getPropertyValue("--" + name).trim();
  for (const flow of flows) {
    flow.rgb = channels(flow.colours[on ? 1 : 0]);
    flow.css = css(flow.rgb);
  }
  for (const { flow, name } of panels.flatMap((panel) => panel.captions)) name.style.setProperty("--flow", flow.css);
  stale();
}

// ---------------------------------------------------------------- flows and time

function prepare(bytes) {
  targets = facts.targets.map((target) => series(bytes, target.points, facts.step)[0]);
  flows = facts.flows.map((fact, index) => {
    const [T, N, C] = fact.positions.shape;
    const flow = {
      ...fact, index, T, N, C, place: 0,
      positions: series(bytes, fact.positions, facts.step),
      velocity: fact.velocity && series(bytes, fact.velocity.block, fact.velocity.unit),
      mass: fact.mass && series(bytes, fact.mass, 1 / 256),
      pictures: fact.images && pictures(bytes, fact.images),
      witness: fact.witness && { ...fact.witness, grids: pictures(bytes, fact.witness.block) },
      target: facts.target_of[index] === null ? null : targets[facts.target_of[index]],
      anew: fact.anew && fact.anew.map((rows) => new Set(rows)),
      labels: fact.labels && pictures(bytes, fact.labels)[0],
      w2: fact.curves.find((curve) => curve.key === "W2"),
      now: new Float32Array(N * C), flat: new Float32Array(2 * N), shades: new Uint8Array(N),
    };
    flow.speeds = speedsOf(flow);
    flow.began = beganOf(flow);
    return flow;
  });
  for (const flow of flows) {
    const some = flow.speeds.flatMap((speeds) => Array.from(speeds.filter((_, i) => i % Math.ceil(flow.N / 200) === 0))).sort((a, b) => a - b);
    flow.fastest = some[Math.floor(0.99 * (some.length - 1))] || 1;  // the 99 % quantile: the brightest shade, the longest arrow
  }
  facts.fastest = Math.max(...flows.map((flow) => flow.fastest));
  paces = pacesOf();
}

// The distance of point i of two clouds (N * C); of one cloud from the origin.
function apart(i, C, a, b) {
  let square = 0;
  for (let c = i * C; c < (i + 1) * C; c++) square += (a[c] - (b ? b[c] : 0)) ** 2;
  return Math.sqrt(square);
}

// Was particle i placed anew between record k and the one before? Then it did not travel there.
const jumped = (flow, k, i) => Boolean(flow.anew && k < flow.T && flow.anew[k].has(i));

// Speeds at each record: of the recorded velocity, else of the move to the next record.
function speedsOf(flow) {
  const { T, N, C, velocity, positions, times } = flow;
  return numbers(T).map((k) => {
    if (velocity) return Float32Array.from({ length: N }, (_, i) => apart(i, C, velocity[k]));
    const j = Math.max(0, Math.min(k, T - 2)), next = Math.min(j + 1, T - 1), dt = times[next] - times[j] || 1;
    return Float32Array.from({ length: N }, (_, i) => jumped(flow, next, i) ? 0 : apart(i, C, positions[next], positions[j]) / dt);
  });
}

// Where each particle began, as a shade: its direction from the middle of the start; in d = 1 its rank.
function beganOf({ N, C, positions }) {
  const start = positions[0], out = new Uint8Array(N);
  if (C === 1) {
    numbers(N).sort((a, b) => start[a] - start[b]).forEach((i, rank) => { out[i] = Math.floor((rank / N) * SHADES); });
    return out;
  }
  const middle = [0, 1].map((c) => numbers(N).reduce((sum, i) => sum + start[i * C + c], 0) / N);
  return out.map((_, i) => Math.floor((Math.atan2(start[i * C + 1] - middle[1], start[i * C] - middle[0]) / (2 * Math.PI) + 0.5) * SHADES * 0.99999));
}

// y(x) by linear interpolation in a table of increasing xs.
function interpolate(x, xs, ys) {
  let low = 0, high = xs.length - 1;
  if (x <= xs[0]) return ys[0];
  if (x >= xs[high]) return ys[high];
  while (high - low > 1) { const middle = (low + high) >> 1; if (xs[middle] <= x) low = middle; else high = middle; }
  const f = (x - xs[low]) / (xs[high] - xs[low]), [y, next] = [ys[low], ys[high]];
  return f === 0 ? y : y === null || next === null ? NaN : y + f * (next - y);
}

// For each pace and flow the places at MOMENTS + 1 moments. "path": all flows at one step, so chosen
// that the particles travel equally far in equal times, on average over the flows.
function pacesOf() {
  const us = numbers(MOMENTS + 1).map((j) => j / MOMENTS), steps = [...new Set(flows.flatMap((flow) => flow.steps))].sort((a, b) => a - b);
  const lastTime = Math.max(...flows.map((flow) => flow.times[flow.T - 1])), lastStep = steps[steps.length - 1];
  const travelled = steps.map(() => 0);
  for (const flow of flows) {
    const length = [0];
    for (let k = 1; k < flow.T; k++) length.push(length[k - 1] + meanMove(flow, k));
    if (length[flow.T - 1] > 0) steps.forEach((step, j) => { travelled[j] += interpolate(step, flow.steps, length) / length[flow.T - 1]; });
  }
  const whole = travelled[travelled.length - 1];
  const atStep = (flow, step) => interpolate(step, flow.steps, numbers(flow.T));
  const table = (placeAt) => flows.map((flow) => us.map((u) => placeAt(flow, u)));
  const found = {
    path: table((flow, u) => atStep(flow, whole > 0 ? interpolate(u * whole, travelled, steps) : u * lastStep)),
    steps: table((flow, u) => atStep(flow, u * lastStep)),
    time: table((flow, u) => interpolate(u * lastTime, flow.times, numbers(flow.T))),
  };
  if (flows.every(({ w2 }) => w2 && w2.values.every((w) => w > 0))) {
    // each flow where its W2 first falls to a level that all share; where it never does, at its lowest
    const falls = flows.map(({ w2 }) => w2.values.map((_, k) => -Math.log(Math.min(...w2.values.slice(0, k + 1)))));
    const first = Math.min(...falls.map((fall) => fall[0])), last = Math.max(...falls.map((fall) => fall[fall.length - 1]));
    found["equal W2"] = table((flow, u) => {
      const fall = falls[flow.index], level = first + u * (last - first), k = fall.findIndex((f) => f >= level - 1e-9);
      if (k <= 0) return atStep(flow, flow.w2.steps[k ? fall.indexOf(fall[fall.length - 1]) : 0]);
      const { steps: at, values: w } = flow.w2;
      return atStep(flow, interpolate(w[k - 1] - Math.exp(-level), [0, w[k - 1] - w[k]], [at[k - 1], at[k]]));
    });
  }
  return found;
}

// The mean move of some particles from record k - 1 to k.
function meanMove({ N, C, positions }, k) {
  const by = Math.ceil(N / 2000), some = numbers(Math.ceil(N / by));
  return some.reduce((sum, j) => sum + apart(j * by, C, positions[k], positions[k - 1]), 0) / some.length;
}

function placeOf(flow, u = view.u, pace = view.pace) {
  const at = clamp(u, 0, 1) * MOMENTS, j = Math.min(Math.floor(at), MOMENTS - 1), places = paces[pace][flow.index];
  return places[j] + (at - j) * (places[j + 1] - places[j]);
}
const stepOf = (flow, place) => interpolate(place, numbers(flow.T), flow.steps);
const valueOf = (flow, curve, place) => interpolate(stepOf(flow, place), curve.steps, curve.values);  // NaN beside a value that is none

// Positions at the present place, by linear interpolation between records, into flow.now.
function move(flow) {
  const place = placeOf(flow), k = Math.floor(place), f = place - k, out = flow.now;
  const a = flow.positions[k], b = flow.positions[Math.min(k + 1, flow.T - 1)];
  for (let c = 0; c < out.length; c++) out[c] = a[c] + f * (b[c] - a[c]);
  if (f && flow.anew) for (const i of flow.anew[k + 1]) for (let c = i * flow.C; c < (i + 1) * flow.C; c++) out[c] = a[c];
  flow.place = place;
  flow.record = Math.round(place);
}

// ---------------------------------------------------------------- from space to the panel

function home() {
  view.zoom = 1;
  view.centre = view.axes.map((c) => (facts.low[c] + facts.high[c]) / 2);
}

// How a panel of w by h pixels shows points (N, C): `to` puts point i into out[o], out[o + 1].
function projection(w, h, C) {
  if (line1d) {
    return { kind: "line", x: (u) => LEFT + u * (w - LEFT - 34), y: (x) => h - 14 - ((x - facts.low[0]) / extent[0]) * (h - 40) };
  }
  if (view.space) {
    const half = Math.hypot(...extent.slice(0, 3)) / 2, unit = fit(w, h, half) * view.zoom;
    const [ct, st, cl, sl] = [Math.cos(view.turn[0]), Math.sin(view.turn[0]), Math.cos(view.turn[1]), Math.sin(view.turn[1])];
    const middle = facts.low.map((low, c) => low + extent[c] / 2);
    return {
      kind: "space",
      to(points, i, out, o) {
        const x = points[i * C] - middle[0], y = points[i * C + 1] - middle[1], z = points[i * C + 2] - middle[2];
        const into = -st * x + ct * y, near = 1 / (1 + (0.28 * (sl * z + cl * into)) / half);
        out[o] = w / 2 + unit * (ct * x + st * y) * near;
        out[o + 1] = h / 2 - unit * (cl * z - sl * into) * near;
      },
    };
  }
  const [a, b] = view.axes, unit = view.zoom * Math.min(w / extent[a], h / extent[b]);
  const x0 = w / 2 - unit * view.centre[0], y0 = h / 2 + unit * view.centre[1];
  return {
    kind: "plane", unit,
    to(points, i, out, o) {
      out[o] = x0 + unit * points[i * C + a];
      out[o + 1] = y0 - unit * points[i * C + b];
    },
    back: (x, y) => [(x - x0) / unit, (y0 - y) / unit],
  };
}

// Pixels a unit at which the box, turned by any angle, stays within a panel in space.
function fit(w, h, half) {
  const [cl, sl] = [Math.cos(view.turn[1]), Math.sin(view.turn[1])], wide = Math.hypot(extent[0], extent[1]) / 2, high = extent[2] / 2;
  let [across, up] = [0, 0];
  for (const z of [-high, high]) {
    for (const into of numbers(33).map((k) => wide * (k / 16 - 1))) {
      const near = 1 / (1 + (0.28 * (sl * z + cl * into)) / half);
      across = Math.max(across, near * Math.sqrt(Math.max(0, wide * wide - into * into)));
      up = Math.max(up, near * Math.abs(cl * z - sl * into));
    }
  }
  return Math.min((0.5 * w - 6) / across, (0.5 * h - 6) / up);
}

function project(seen, points, count, out) {
  for (let i = 0; i < count; i++) seen.to(points, i, out, 2 * i);
  return out;
}

// ---------------------------------------------------------------- panels

function buildPanels() {
  const shown = view.alone >= 0 ? [flows[view.alone]] : flows;
  $("panels").replaceChildren();
  panels = (view.over ? [shown] : shown.map((flow) => [flow])).map((group) => {
    const figure = make("figure", $("panels")), caption = make("figcaption", figure);
    const captions = group.map((flow) => ({ flow, name: make("b", caption, flow.name), told: make("span", caption) }));
    const canvas = make("canvas", figure), panel = { group, canvas, pen: canvas.getContext("2d"), captions };
    canvas.setAttribute("role", "img");
    captions.forEach(({ flow, name }) => name.style.setProperty("--flow", flow.css));
    listen(panel);
    return panel;
  });
  $("player").classList.toggle("single", panels.length === 1);
  layOut();
}

// Sizes of all canvases, after the page has changed.
function layOut() {
  const wide = $("player").clientWidth, count = panels.length;
  const most = wide < 640 ? (count > 4 ? 1 : 2) : Math.min(4, count <= 4 ? count : Math.ceil(count / 2));
  const fitting = Math.max(1, Math.min(count, most, Math.floor((wide - 26) / (NARROW + 10))));
  const columns = Math.ceil(count / Math.ceil(count / fitting)); // rows of equal length
  $("panels").style.setProperty("--columns", columns);
  const aspect = line1d ? 0.62 : view.space || view.images ? 0.85 : clamp(extent[view.axes[1]] / extent[view.axes[0]], 0.5, 1.4);
  const tallest = Math.max(240, window.innerHeight * (count > columns ? 0.37 : 0.64));
  for (const sheet of [...panels, ...charts]) {
    sheet.w = sheet.canvas.clientWidth;
    sheet.h = sheet.group ? Math.round(Math.min(sheet.w * aspect, tallest)) : 150;
    sheet.ratio = Math.min(window.devicePixelRatio || 1, 2);
    sheet.canvas.style.height = sheet.h + "px";
    sheet.canvas.width = Math.round(sheet.w * sheet.ratio);
    sheet.canvas.height = Math.round(sheet.h * sheet.ratio);
  }
  stale();
}

// Draws what does not move on a canvas of its own, once for each `key`, and copies it.
function still(sheet, key, drawStill) {
  if (sheet.pen.vector) return drawStill();
  if (!sheet.still) sheet.still = make("canvas");
  const { canvas, still: kept, pen, ratio } = sheet;
  if (sheet.key !== key) {
    sheet.key = key;
    [kept.width, kept.height] = [canvas.width, canvas.height];
    sheet.pen = kept.getContext("2d");
    sheet.pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    sheet.pen.fillStyle = theme.panel;
    sheet.pen.fillRect(0, 0, sheet.w, sheet.h);
    drawStill();
    sheet.pen = pen;
  }
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.drawImage(kept, 0, 0);
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
}

function stale() {
  for (const sheet of [...panels, ...charts]) sheet.key = null;
  ask();
}

// What colours particle i of a flow, from 0 to 1.
const MEASURED = {
  speed: (flow) => (i) => Math.sqrt(flow.speeds[flow.record][i] / flow.fastest),
  mass: (flow) => (i) => flow.mass[flow.record][i] / 2,
  witness: (flow) => { const w = witnessOf(flow, flow.place); return (i) => (1 + w(flow.now[i * flow.C], flow.now[i * flow.C + 1])) / 2; },
};

function shadesOf(flow) {
  if (view.colour === "flow") return { palette: [flow.rgb], shade: null };
  if (view.colour === "label") return { palette: numbers(SHADES).map((k) => channels(labelColour(k % facts.label_names.length))), shade: flow.labels };
  if (view.colour === "start") return { palette: line1d ? RISING : AROUND, shade: flow.began };
  const at = MEASURED[view.colour](flow);
  for (let i = 0; i < flow.N; i++) flow.shades[i] = clamp(Math.floor(at(i) * SHADES), 0, SHADES - 1);
  return { palette: view.colour === "witness" ? SIGNED : RISING, shade: flow.shades };
}

// The witness at a place of the run, as a function of the nearest point of its grid: between -1 and
// 1, its square root with its sign. Between two recorded grids it is blended.
function witnessOf({ witness: { records, grids, low, high, block } }, place) {
  const at = interpolate(place, records, numbers(records.length)), k = Math.floor(at), f = at - k, side = block.shape[1];
  const a = grids[k], b = grids[Math.min(k + 1, grids.length - 1)];
  const near = (x, c) => clamp(Math.round(((x - low[c]) / (high[c] - low[c])) * (side - 1)), 0, side - 1);
  return (x, y) => { const q = line1d ? near(x, 0) : near(x, 0) * side + near(y, 1); return (a[q] + f * (b[q] - a[q]) - 128) / 127; };
}

// A heat map of the witness: of the plane at the present place, in d = 1 of space against the moment.
function drawHeat(pen, flow, seen) {
  const { low, high, block } = flow.witness, side = block.shape[1], wide = line1d ? MOMENTS + 1 : side;
  const at = (j, c) => low[c] + (j / (side - 1)) * (high[c] - low[c]);
  const now = line1d ? numbers(wide).map((j) => witnessOf(flow, placeOf(flow, j / MOMENTS))) : witnessOf(flow, flow.place);
  const sheet = picture(wide, side, (x, y) => {
    const w = line1d ? now[x](at(side - 1 - y, 0)) : now(at(x, 0), at(side - 1 - y, 1));
    return [...SIGNED[w > 0 ? SHADES - 1 : 0], 120 * Math.abs(w)];
  });
  const [left, top, right, bottom] = line1d ? [seen.x(0), seen.y(high[0]), seen.x(1), seen.y(low[0])] : [low, high].flatMap((corner, k) => {
    const out = [0, 0], point = facts.low.map((_, c) => (c ? (k ? low : high)[c] : corner[c]));
    seen.to(point, 0, out, 0);
    return out;
  });
  pen.imageSmoothingEnabled = true;
  pen.drawImage(sheet, left, top, right - left, bottom - top);
}

function drawPanel(panel) {
  const { w, h, group } = panel;
  // one finger scrolls the page where it cannot move anything of use
  panel.canvas.style.touchAction = view.space || view.lasso || view.zoom !== 1 ? "none" : "pan-y";
  const seen = (panel.seen = projection(w, h, group[0].C));
  if (view.images) { still(panel, "images", () => {}); return drawImages(panel); }
  still(panel, [view.target, view.heat, view.zoom, view.centre, view.turn, view.axes, view.space, view.pace].join(), () => drawGround(panel, seen));
  const { pen } = panel;
  if (view.heat && !line1d) for (const flow of group) if (flow.witness) drawHeat(pen, flow, seen);
  for (const flow of group) {
    const { palette, shade } = shadesOf(flow);
    const followed = (i) => !view.group || view.group[i];
    if (seen.kind === "line") drawSpaceTime(panel, seen, flow, palette, shade);
    else {
      if (view.trails > 0) drawTrails(pen, flow, seen, palette, shade, followed);
      project(seen, flow.now, flow.N, flow.flat);
      cloud(panel, flow.flat, flow.N, shade, palette, flow.N > 20000 ? 0.4 : 0.9, view.group);
      if (view.arrows && flow.velocity) drawArrows(pen, flow, seen);
    }
    if (view.hover >= 0 && view.hover < flow.N) drawHovered(pen, flow, seen);
  }
  if (panel.loop && panel.loop.length > 1) line(pen, panel.loop, theme.key, 1.5, [5, 4]);
}

// What lies under the particles: the target, the edges of the box in space, the names of the axes.
function drawGround(panel, seen) {
  const { pen, w, h } = panel, { target, C } = panel.group[0], colour = channels(theme.target);
  small(pen);
  if (seen.kind === "line") {
    if (view.heat && panel.group[0].witness) drawHeat(pen, panel.group[0], seen);
    small(pen);
    pen.fillText(`${facts.labels[0]} against ${view.pace}`, LEFT, 16);
    drawTicks(panel, seen);
    pen.fillStyle = css(colour, 0.6);
    if (view.target && target) for (const x of target) pen.fillRect(w - 26, seen.y(x) - 0.75, 20, 1.5);
    return;
  }
  if (seen.kind === "space") {
    const corner = (k) => { const out = [0, 0]; seen.to([0, 1, 2].map((c) => ((k >> c) & 1 ? facts.high[c] : facts.low[c])), 0, out, 0); return out; };
    for (const k of numbers(8)) for (const c of [1, 2, 4]) if (!(k & c)) line(pen, [corner(k), corner(k | c)], theme.line, 1);
  } else {
    pen.textAlign = "right";
    pen.fillText(facts.labels[view.axes[0]], w - 6, h - 6);
    pen.rotate(-Math.PI / 2);
    pen.fillText(facts.labels[view.axes[1]], -6, 14);
    pen.rotate(Math.PI / 2);
  }
  if (view.target && target) {
    const count = target.length / C;
    cloud(panel, project(seen, target, count, new Float32Array(2 * count)), count, null, [colour], 0.75, null);
  }
  if (seen.kind === "plane") drawTicks(panel, seen);
}

// The path of particle i between two places, onto the pen's path.
const ends = [0, 0];
function tail(pen, flow, i, from, to, seen) {
  const first = Math.floor(from), last = Math.floor(to), C = flow.C, { positions } = flow;
  const at = (k, f) => {
    seen.to(positions[k], i, ends, 0);
    if (!f || jumped(flow, k + 1, i)) return;
    const [x, y] = ends;
    seen.to(positions[Math.min(k + 1, flow.T - 1)], i, ends, 0);
    ends[0] = x + f * (ends[0] - x);
    ends[1] = y + f * (ends[1] - y);
  };
  at(first, from - first);
  pen.moveTo(ends[0], ends[1]);
  for (let k = first + 1; k <= last; k++) { at(k, 0); if (jumped(flow, k, i)) pen.moveTo(ends[0], ends[1]); else pen.lineTo(ends[0], ends[1]); }
  if (to > last) { at(last, to - last); pen.lineTo(ends[0], ends[1]); }
}

function drawTrails(pen, flow, seen, palette, shade, followed) {
  const to = flow.place, from = placeOf(flow, view.u - view.trails), by = Math.ceil(flow.N / TRAILED);
  if (to - from < 1e-6) return;
  const thick = 1;
  byShade(flow.N, shade, (i) => i % by === 0 && followed(i)).forEach((members, s) => {
    // the older half is fainter
    for (const [start, end, alpha] of [[from, (from + to) / 2, 0.16], [(from + to) / 2, to, 0.36]]) {
      pen.beginPath();
      for (const i of members) tail(pen, flow, i, start, end, seen);
      stroke(pen, css(palette[s], view.trails > 0.9 ? alpha / 1.5 : alpha), thick);
    }
  });
}

function drawHovered(pen, flow, seen) {
  const i = view.hover;
  pen.beginPath();
  if (seen.kind === "line") momentsOf(flow).forEach((u, k) => pen[jumped(flow, k, i) ? "moveTo" : "lineTo"](seen.x(u), seen.y(flow.positions[k][i])));
  else tail(pen, flow, i, 0, flow.T - 1, seen);
  stroke(pen, theme.ink, 1.6);
  pen.beginPath();
  pen.arc(flow.flat[2 * i], flow.flat[2 * i + 1], 6, 0, 2 * Math.PI);
  pen.stroke();
}

function drawArrows(pen, flow, seen) {
  const by = Math.ceil(flow.N / 150), a = [0, 0], b = [0, 0], long = (0.1 * Math.max(...extent)) / flow.fastest;
  const heads = flow.now.map((x, c) => x + long * flow.velocity[flow.record][c]);
  const taken = new Set();  // squares with an arrow: in a dense cloud one arrow stands for many
  pen.beginPath();
  for (let i = 0; i < flow.N; i += by) {
    seen.to(flow.now, i, a, 0);
    const square = `${Math.floor(a[0] / CELL)},${Math.floor(a[1] / CELL)}`;
    if (taken.has(square)) continue;
    taken.add(square);
    seen.to(heads, i, b, 0);
    const angle = Math.atan2(b[1] - a[1], b[0] - a[0]), head = Math.min(5, Math.hypot(b[0] - a[0], b[1] - a[1]) / 2);
    pen.moveTo(a[0], a[1]);
    pen.lineTo(b[0], b[1]);
    for (const side of [-2.6, 2.6]) { pen.moveTo(b[0], b[1]); pen.lineTo(b[0] + head * Math.cos(angle + side), b[1] + head * Math.sin(angle + side)); }
  }
  stroke(pen, css(channels(view.dark ? "#ffffff" : "#1b2028"), 0.65), 1);
}

function picture(width, height, rgba) {
  const sheet = make("canvas"), brush = sheet.getContext("2d");
  [sheet.width, sheet.height] = [width, height];
  const data = brush.createImageData(width, height);
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) data.data.set(rgba(x, y), 4 * (y * width + x));
  brush.putImageData(data, 0, 0);
  return sheet;
}

// d = 1: each path against the moment, up to now.
function drawSpaceTime(panel, seen, flow, palette, shade) {
  const { pen } = panel, by = Math.ceil(flow.N / 1500), us = momentsOf(flow), crowded = flow.N > 300;
  const thick = crowded ? 0.7 : 1.1;
  byShade(flow.N, shade, (i) => i % by === 0).forEach((members, s) => {
    pen.beginPath();
    for (const i of members) {
      for (let k = 0; k <= Math.floor(flow.place); k++) pen[k && !jumped(flow, k, i) ? "lineTo" : "moveTo"](seen.x(us[k]), seen.y(flow.positions[k][i]));
      pen.lineTo(seen.x(view.u), seen.y(flow.now[i]));
    }
    stroke(pen, css(palette[s], crowded ? 0.35 : 0.5), thick);
  });
  for (let i = 0; i < flow.N; i++) { flow.flat[2 * i] = seen.x(view.u); flow.flat[2 * i + 1] = seen.y(flow.now[i]); }
  dots(pen, flow.flat, byShade(flow.N, shade, () => true), palette, 2, 0.9);
}

// The first moment at which a flow is at a place, the inverse of placeOf; of each record.
function momentOf(flow, place) {
  const places = paces[view.pace][flow.index], j = places.findIndex((each) => each >= place - 1e-9);
  if (j <= 0) return j < 0 ? 1 : 0;
  return (j - 1 + clamp((place - places[j - 1]) / (places[j] - places[j - 1]), 0, 1)) / MOMENTS;
}
const momentsOf = (flow) => numbers(flow.T).map((k) => momentOf(flow, k));

// The first particles as pictures, as many as fit at a size that can be read, with lines between.
function drawImages({ pen, w, h, group: [flow] }) {
  const [rows, columns] = facts.images, size = rows * columns, many = flow.pictures[0].length / size;
  const least = PICTURE / Math.min(rows, columns), fit = (side, count) => Math.max(1, Math.floor(side / (least * count)));
  const across = Math.min(Math.ceil(Math.sqrt((many * w * rows) / (h * columns))), fit(w, columns)), down = Math.min(Math.ceil(many / across), fit(h, rows));
  const wide = across * columns, high = down * rows, pixel = Math.min(w / wide, h / high), left = (w - pixel * wide) / 2, top = (h - pixel * high) / 2;
  const sheet = picture(wide, high, (x, y) => {
    const i = Math.floor(y / rows) * across + Math.floor(x / columns), ink = i < many ? flow.pictures[flow.record][i * size + (y % rows) * columns + (x % columns)] : 0;
    return [0, 1, 2].map(() => (view.dark ? ink : 255 - ink)).concat(i < many ? 255 : 0);
  });
  pen.imageSmoothingEnabled = false;
  pen.drawImage(sheet, left, top, pixel * wide, pixel * high);
  for (let i = 1; i < across; i++) line(pen, numbers(2).map((k) => [left + i * columns * pixel, top + k * high * pixel]), theme.line, 1);
  for (let i = 1; i < down; i++) line(pen, numbers(2).map((k) => [left + k * wide * pixel, top + i * rows * pixel]), theme.line, 1);
}

// ---------------------------------------------------------------- curves under one cursor

const LEFT = 44, RIGHT = 92;  // pixels beside a chart, for numbers and for names
const short = (x) => (x === null || !isFinite(x) ? "-" : Math.abs(x) >= 1e4 || (x && Math.abs(x) < 1e-3) ? x.toExponential(1) : String(+x.toPrecision(3)));

function small(pen, align = "left") {
  [pen.font, pen.textAlign, pen.fillStyle] = ["11px system-ui, sans-serif", align, theme.quiet];
}

function stroke(pen, colour, width) {
  [pen.strokeStyle, pen.lineWidth] = [colour, width];
  pen.stroke();
}

function line(pen, path, colour, width, dash = []) {
  pen.beginPath();
  path.forEach(([x, y]) => pen.lineTo(x, y));
  pen.setLineDash(dash);
  stroke(pen, colour, width);
  pen.setLineDash([]);
}

function buildCharts() {
  const found = new Map();
  for (const flow of flows) {
    for (const curve of flow.curves) {
      // energies of two flows are two functionals: a chart each
      const energy = curve.key === "energy", title = energy && flows.length > 1 ? `energy of ${flow.name}` : curve.label;
      if (!found.has(title)) found.set(title, { title, energy, lines: [] });
      found.get(title).lines.push({ flow, curve });
    }
  }
  const folded = flows.length > 1;
  $("energies").hidden = !folded || ![...found.values()].some((chart) => chart.energy);
  $("energies").addEventListener("toggle", layOut);
  charts = [...found.values(), { title: "speeds of the particles", speeds: true }].map((chart) => {
    const box = make("div", folded && chart.energy ? $("energies").querySelector(".charts") : $("curves"));
    make("h2", box, chart.title);
    const canvas = make("canvas", box);
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", chart.title);
    const scrub = (event) => { if (event.buttons && !chart.speeds) go((event.offsetX - LEFT) / (chart.w - LEFT - RIGHT)); };
    canvas.addEventListener("pointerdown", scrub);
    canvas.addEventListener("pointermove", scrub);
    return Object.assign(chart, { canvas, pen: canvas.getContext("2d") });
  });
}

function ticksOf(low, high, log) {
  if (log) {
    const tens = numbers(Math.ceil(Math.log10(high / low)) + 2).map((k) => 10 ** (Math.floor(Math.log10(low)) + k));
    return tens.flatMap((ten) => (high / low > 300 ? [ten] : [ten, 2 * ten, 5 * ten])).filter((x) => x >= low && x <= high);
  }
  const raw = (high - low) / 4, unit = 10 ** Math.floor(Math.log10(raw)), by = [1, 2, 5, 10].find((m) => m * unit >= raw) * unit;
  return numbers(7).map((k) => (Math.ceil(low / by) + k) * by).filter((x) => x <= high).map((x) => (Math.abs(x) < by / 1e6 ? 0 : x));
}

const good = (v, log) => v !== null && isFinite(v) && !(log && v <= 0);

function drawChart(chart) {
  if (!chart.w) return;
  if (chart.speeds) return drawSpeeds(chart);
  const { w, h } = chart, x = (u) => LEFT + u * (w - LEFT - RIGHT);
  const lines = chart.lines.filter(({ flow }) => view.alone < 0 || flow.index === view.alone);
  const all = lines.flatMap(({ curve }) => [...curve.values, curve.floor]).filter((v) => good(v));
  let low = Math.min(...all), high = Math.max(...all);
  const log = low > 0 && high / low > 3, room = 0.08 * (high - low) || 1;
  [low, high] = log ? [0.8 * low, 1.25 * high] : [low - room, high + room];
  const y = (v) => h - 12 - (log ? Math.log(v / low) / Math.log(high / low) : (v - low) / (high - low)) * (h - 22);
  still(chart, [view.pace, view.alone].join(), () => drawLines(chart, lines, x, y, ticksOf(low, high, log), log));
  const { pen } = chart;
  line(pen, [[x(view.u), 4], [x(view.u), h - 10]], theme.ink, 1);
  const present = lines.map(({ flow, curve }) => [flow, valueOf(flow, curve, flow.place)]).filter(([, v]) => good(v, log));
  for (const [flow, v] of present) { pen.beginPath(); pen.arc(x(view.u), y(v), 3.5, 0, 7); pen.fillStyle = flow.css; pen.fill(); }
}

function drawLines({ pen, w, h }, lines, x, y, ticks, log) {
  const labels = [], right = w - RIGHT;
  small(pen, "right");
  for (const tick of ticks) {
    pen.fillText(short(tick), LEFT - 4, y(tick) + 4);
    line(pen, [[LEFT, y(tick)], [right, y(tick)]], theme.line, 1);
  }
  for (const { flow, curve } of lines) {
    if (curve.floor > 0 && !labels.some((label) => label.floor && Math.abs(label.y - y(curve.floor)) < 3)) {
      line(pen, [[LEFT, y(curve.floor)], [right, y(curve.floor)]], theme.quiet, 1.2, [4, 4]);
      if (!labels.some((label) => label.floor && Math.abs(label.y - y(curve.floor)) < 12)) labels.push({ y: y(curve.floor), text: "fresh samples", colour: theme.quiet, floor: true });
    }
    const moments = numbers(MOMENTS + 1).map((j) => [x(j / MOMENTS), valueOf(flow, curve, placeOf(flow, j / MOMENTS))]);
    const parts = [[]];  // a line ends where a value is none
    for (const [u, v] of moments) good(v, log) ? parts[parts.length - 1].push([u, y(v)]) : parts.push([]);
    for (const path of parts) line(pen, path, flow.css, 2, flow.dashes.map((x) => 2 * x));
    const path = parts.flat();
    if (path.length) labels.push({ y: path[path.length - 1][1], text: flow.name, colour: theme.ink });
  }
  // names at the ends of lines, 12 pixels apart
  labels.sort((a, b) => a.y - b.y);
  labels.forEach((label, k) => { if (k) label.y = Math.max(label.y, labels[k - 1].y + 12); });
  labels.reverse().forEach((label, k) => { label.y = Math.min(label.y, k ? labels[k - 1].y - 12 : h - 6); });
  pen.textAlign = "left";
  for (const label of labels) { pen.fillStyle = label.colour; pen.fillText(label.text.length > 15 ? label.text.slice(0, 14) + "…" : label.text, right + 4, label.y + 4, RIGHT - 6); }
}

// How many particles move how fast, on a log axis.
function drawSpeeds(chart) {
  const { w, h } = chart, bins = 36, decades = 4, top = 1.5 * facts.fastest;
  const at = (v) => clamp(1 + Math.log10(Math.max(v, 1e-300) / top) / decades, 0, 1);
  still(chart, "", () => {
    const { pen } = chart;
    small(pen, "center");
    for (const tick of ticksOf(top * 10 ** -decades * 1.3, top, true)) pen.fillText(short(tick), 12 + at(tick) * (w - 24), h - 5);
  });
  for (const flow of view.alone < 0 ? flows : [flows[view.alone]]) {
    const counts = new Array(bins).fill(0);
    for (const v of flow.speeds[flow.record]) counts[Math.min(bins - 1, Math.floor(at(v) * bins))] += 1;
    const level = (n) => h - 18 - Math.min(1, (2.5 * n) / flow.N) * (h - 28);
    line(chart.pen, counts.flatMap((n, k) => [k, k + 1].map((edge) => [12 + (edge / bins) * (w - 24), level(n)])), flow.css, 1.8);
  }
}

// ---------------------------------------------------------------- one drawing of everything

let asked = false;
function ask() { if (!asked) { asked = true; requestAnimationFrame(draw); } }

function draw() {
  asked = false;
  const began = performance.now();
  for (const flow of flows) move(flow);
  for (const panel of panels) if (panel.w && panel.h) drawPanel(panel);  // hidden panels have no size
  for (const chart of charts) drawChart(chart);
  tell();
  window.player.milliseconds = performance.now() - began;
}

function tell() {
  $("scrub").value = view.u;
  $("play").textContent = view.playing ? "Pause" : "Play";
  // a time is that of its whole step
  const whole = flows.map((flow) => Math.round(stepOf(flow, flow.place))), steps = [...new Set(whole)];
  const times = [...new Set(flows.map((flow, k) => short(interpolate(whole[k], flow.steps, flow.times))))];
  $("moment").textContent = (steps.length === 1 ? "step " : "steps ") + steps.join(", ") + (times.length === 1 ? `, t = ${times[0]}` : "");
  const key = legend(), keyed = JSON.stringify(key);
  if (tell.keyed !== keyed) {
    $("legend").replaceChildren();
    for (const { name, colour } of key) make("span", $("legend"), name).style.setProperty("--flow", colour);
    tell.keyed = keyed;
  }
  for (const panel of panels) {
    for (const { flow, told } of panel.captions) {
      const floor = flow.w2 && flow.w2.floor ? ` (floor ${short(flow.w2.floor)})` : "";
      const parts = flow.w2 ? [`W2 ${short(valueOf(flow, flow.w2, flow.place))}${floor}`] : [];
      if (flow.place > flow.T - 1.001) parts.push(flow.status);
      const far = outside(flow);
      if (far) parts.push(far);
      told.textContent = parts.join(", ");
    }
    panel.canvas.setAttribute("aria-label", `${panel.group.map((flow) => flow.name).join(", ")}: ${$("moment").textContent}`);
  }
}

let before = 0, held = 0;
function tick(now) {
  if (!view.playing) return;
  const passed = clamp((now - before) / 1000, 0, 0.1);
  before = now;
  if (view.u < 1) view.u = Math.min(1, view.u + (passed * view.speed) / SECONDS);
  else if ((held += passed) > HOLD) {
    if (!view.loop) return play(false);
    view.u = held = 0;
  }
  ask();
  requestAnimationFrame(tick);
}

function play(on) {
  view.playing = on;
  if (on && view.u >= 1) view.u = 0;
  if (on) { before = performance.now(); held = 0; requestAnimationFrame(tick); } else remember();
  ask();
}
function begin(on) { setCard(false); play(on); }
function go(u) { view.u = clamp(u, 0, 1); play(false); }

// The next record, or the last one before, of the flow that ends last; of several, of that with most.
function nudge(by) {
  const rank = (flow) => momentOf(flow, flow.T - 1) + flow.T / 1e7, flow = flows.reduce((a, b) => (rank(b) > rank(a) ? b : a));
  const place = placeOf(flow), aim = by > 0 ? Math.floor(place + 1e-6) + 1 : Math.ceil(place - 1e-6) - 1;
  go(momentOf(flow, clamp(aim, 0, flow.T - 1)));
}

// ---------------------------------------------------------------- keys

function reset() { home(); Object.assign(view, { group: null, alone: -1, turn: [0.7, 0.42] }); buildPanels(); remember(); }
function flip(name) { $(name).checked = !$(name).checked; $(name).dispatchEvent(new Event("change")); }
let trailed = 1;
const KEYS = {
  " ": () => begin(!view.playing), Home: () => go(0), End: () => go(1), Escape: reset,
  ArrowRight: (event) => (event.shiftKey ? go(view.u + 0.1) : nudge(1)),
  ArrowLeft: (event) => (event.shiftKey ? go(view.u - 0.1) : nudge(-1)),
  t: () => { [view.trails, trailed] = view.trails > 0 ? [0, view.trails] : [trailed, 0]; $("trails").value = view.trails; ask(); },
  l: () => flip("loop"), f: () => $("full").click(), d: () => $("dark").click(),
  c: () => { setCard(!view.card); remember(); },
};
addEventListener("keydown", (event) => {
  const on = event.target.tagName;
  if (event.ctrlKey || event.metaKey || event.altKey || on === "SELECT" || (event.key === " " && (on === "BUTTON" || on === "SUMMARY"))) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key, number = /^[1-9]$/.test(key) ? +key - 1 : -1;
  if (KEYS[key]) KEYS[key](event);
  else if (number >= 0 && number < flows.length) { view.alone = view.alone === number ? -1 : number; buildPanels(); remember(); } else return;
  event.preventDefault();
});

// ---------------------------------------------------------------- controls and bookmarks

const REMEMBERED = ["u", "pace", "speed", "colour", "trails", "dark", "over", "arrows", "heat", "target", "space", "images", "alone", "zoom", "card"];
const initial = { ...view };

function remember() {
  const parts = REMEMBERED.filter((key) => view[key] !== initial[key]).map((key) => `${key}=${typeof view[key] === "number" ? +view[key].toFixed(4) : view[key]}`);
  if (view.zoom !== 1) parts.push(`at=${view.centre.map((x) => +x.toPrecision(5))}`);
  if (String(view.axes) !== String(initial.axes)) parts.push(`axes=${view.axes}`);
  try { history.replaceState(null, "", "#" + parts.join("&")); } catch { /* a page within a page may have no address */ }
}

// What the address asks for; anything else in it is left alone. Does it ask for a moment?
function recall() {
  const address = new URLSearchParams(location.hash.slice(1)), pair = (name) => (address.get(name) || "").split(",").map(Number);
  for (const key of REMEMBERED.filter((name) => address.has(name))) {
    const said = address.get(key), kind = typeof initial[key];
    if (kind === "number" && said !== "" && isFinite(said)) view[key] = +said;
    if (kind === "boolean") view[key] = said === "true";
    if (kind === "string") view[key] = said;
  }
  if (pair("axes").length === 2 && pair("axes").every((c) => Number.isInteger(c) && c >= 0 && c < facts.labels.length)) view.axes = pair("axes");
  const { zoom: asked } = view;
  home();
  if (address.has("zoom") && asked > 0) view.zoom = asked;
  if (pair("at").length === 2 && pair("at").every(isFinite)) view.centre = pair("at");
  if (!(view.pace in paces)) view.pace = "path";
  if (!colours().includes(view.colour)) view.colour = "flow";
  view.u = clamp(view.u, 0, 1);
  view.alone = Number.isInteger(view.alone) && view.alone < flows.length ? view.alone : -1;
  view.space = view.space && facts.dim === 3;
  view.images = view.images && Boolean(facts.images);
  return address.has("u");
}

const colours = () => ["flow", "start", "speed", ...["mass", "witness"].filter((name) => flows.every((flow) => flow[name])), ...(facts.label_names ? ["label"] : [])];
const labelColour = (k) => facts.label_colours[k][view.dark ? 1 : 0];
// What the colours of labels stand for.
const legend = () => (view.colour === "label" ? facts.label_names.map((name, k) => ({ name, colour: labelColour(k) })) : []);
const SWITCHES = ["target", "arrows", "heat", "loop", "lasso"];
const VIEWS = { space: { space: true }, "side by side": {}, overlaid: { over: true }, pictures: { images: true } };

function choices(id, names) { for (const name of names) make("option", $(id), name).value = name; $(id).parentElement.hidden = names.length < 2; }
function bind(id, event, act) { $(id).addEventListener(event, () => { act($(id)); remember(); ask(); }); }

function buildControls() {
  choices("pace", Object.keys(paces));
  choices("colour", colours());
  choices("view", Object.keys(VIEWS).filter((name) => ({ space: facts.dim === 3, overlaid: flows.length > 1, pictures: Boolean(facts.images) })[name] ?? true));
  ["across", "up"].forEach((id, k) => {
    facts.labels.forEach((label, c) => { make("option", $(id), label).value = c; });
    $(id).parentElement.hidden = facts.labels.length < 3;
    bind(id, "change", (box) => { view.axes = view.axes.map((c, j) => (j === k ? +box.value : c)); home(); layOut(); });
  });
  for (const name of SWITCHES) bind(name, "change", (box) => { view[name] = box.checked; });
  for (const name of ["pace", "colour"]) bind(name, "change", (box) => { view[name] = box.value; });
  bind("speed", "change", (box) => { view.speed = +box.value; });
  bind("trails", "input", (box) => { view.trails = +box.value; });
  bind("scrub", "input", (box) => go(+box.value));
  bind("view", "change", (box) => { Object.assign(view, { over: false, space: false, images: false }, VIEWS[box.value]); buildPanels(); });
  bind("play", "click", () => play(!view.playing));
  bind("card", "click", () => begin(true));
  bind("title", "click", () => setCard(true));
  bind("reset", "click", reset);
  bind("dark", "click", () => setDark(!view.dark));
  bind("full", "click", () => (document.fullscreenElement ? document.exitFullscreen() : $("player").requestFullscreen()));
  bind("picture", "click", savePNG);
  bind("vector", "click", saveSVG);
  bind("link", "click", () => { remember(); copy($("link"), location.href); });
  bind("python", "click", () => copy($("python"), facts.python));
  $("python").hidden = !facts.python;
  [$("python").textContent, $("python").title] = [`Copy ${facts.copies}`, `Copy the ${facts.copies} that made this`];
  $("arrows").parentElement.hidden = !flows.some((flow) => flow.velocity);
  $("heat").parentElement.hidden = !flows.some((flow) => flow.witness);
  $("target").parentElement.hidden = !targets.length;
}

// The controls as the view is.
function show() {
  for (const name of SWITCHES) $(name).checked = view[name];
  for (const name of ["pace", "colour", "speed", "trails"]) $(name).value = view[name];
  ["across", "up"].forEach((id, k) => { $(id).value = view.axes[k]; });
  setCard(view.card);
  $("view").value = view.images ? "pictures" : view.space ? "space" : view.over ? "overlaid" : "side by side";
}

async function copy(button, text) {
  const label = button.textContent;
  try { await navigator.clipboard.writeText(text); button.textContent = "Copied"; } catch { window.prompt("Copy:", text); }
  setTimeout(() => { button.textContent = label; }, 1200);
}

// The title card of a talk: what is shown, before it moves.
function buildCard() {
  const most = (key) => [...new Set(flows.map((flow) => flow[key]))].join(", ");
  $("card").replaceChildren();
  make("b", $("card"), facts.title);
  const list = make("p", $("card"));
  for (const flow of flows) make("span", list, flow.name).style.setProperty("--flow", flow.css);
  const points = [...new Set(facts.flows.map((flow) => flow.samples).filter(Boolean))].join(", ");
  make("p", $("card"), `${most("count")} particles` + (points ? `, ${points} points of the target` : ""));
  make("small", $("card"), "Space or tap: play");
}
function setCard(on) {
  view.card = on;
  if (on) { play(false); buildCard(); }
  $("card").hidden = !on;
}

function buildSettings() {
  $("remark").textContent = facts.remark;
  $("remark").hidden = !facts.remark;
  const table = make("table", $("settings"));
  for (const flow of flows) {
    const row = make("tr", table), facts = Object.entries(flow.settings).map(([key, value]) => `${key} ${value}`);
    make("th", row, flow.name);
    make("td", row, [flow.status + (flow.message ? `: ${flow.message}` : ""), ...facts].join("; "));
  }
}

// ---------------------------------------------------------------- start

// For other scripts and for tests.
window.player = {
  view, go, draw, placeOf, milliseconds: 0, ready: false,
  get flows() { return flows; }, get panels() { return panels; }, get charts() { return charts; },
  get webgl() { return Boolean(gl.on); }, set webgl(on) { if (!on) gl.on = null; },
};

async function start() {
  prepare(await bytesOf($("arrays").textContent.trim()));
  view.dark = initial.dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const placed = recall();
  buildControls();
  buildCharts();
  buildSettings();
  setDark(view.dark);
  show();
  buildPanels();
  new ResizeObserver(layOut).observe($("player"));
  addEventListener("hashchange", () => { recall(); show(); setDark(view.dark); buildPanels(); });
  draw();
  window.player.ready = true;
  if (!placed && !view.card && !matchMedia("(prefers-reduced-motion: reduce)").matches) play(true);
}
start();
