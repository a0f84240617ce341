// Numbers along the edges of a panel, in the plane and in space against time.

// Ticks of coordinate c between two places, as distances from the middle, and their numbers. These
// are written from the offset that the axis names.
function placesOf(c, low, high) {
  const origin = facts.origin[c];
  return ticksOf(low + origin, high + origin, false).map((tick) => [tick - origin, digits(tick)]);
}
function digits(tick) {
  const size = Math.abs(tick), x = +tick.toPrecision(8);
  return tick && (size >= 1e5 || size < 1e-3) ? x.toExponential().replace("e+", "e") : String(x);
}

function drawTicks({ pen, w, h }, seen) {
  const flat = seen.kind === "line", wide = (text) => 6.3 * text.length;
  const number = (text, x, y, align) => {
    const left = x - { left: 0, center: 0.5, right: 1 }[align] * wide(text);
    [pen.globalAlpha, pen.fillStyle] = [0.75, theme.panel];  // over the points of the target
    pen.fillRect(left - 1, y - 9, wide(text) + 2, 11);
    pen.globalAlpha = 1;
    small(pen, align);
    pen.fillText(text, x, y);
  };
  const level = (y, text) => {
    if (y < (flat ? 26 : 60) || y > h - 22) return;  // the names of the axes are there
    line(pen, [[flat ? LEFT - 4 : 0, y], [flat ? LEFT : 4, y]], theme.quiet, 1);
    number(text, flat ? LEFT - 7 : 7, y + 4, flat ? "right" : "left");
  };
  if (flat) {
    for (const [at, text] of placesOf(0, facts.low[0], facts.high[0])) level(seen.y(at), text);
    for (const u of [0, 0.5, 1]) {
      const steps = new Set(flows.map((flow) => Math.round(stepOf(flow, placeOf(flow, u)))));
      if (steps.size === 1) number(`${u ? "" : "step "}${[...steps][0]}`, seen.x(u), h - 3, u ? "center" : "left");
    }
    return;
  }
  const [a, b] = view.axes, [left, top] = seen.back(0, 0), [right, bottom] = seen.back(w, h), out = [0, 0];
  const at = (c, x) => { seen.to(facts.low.map((_, k) => (k === c ? x : 0)), 0, out, 0); return out; };
  const free = w - 14 - wide(facts.labels[a]);
  for (const [place, text] of placesOf(a, left, right)) {
    const [x] = at(a, place), half = wide(text) / 2;
    if (x - half < 12 || x + half > free) continue;
    line(pen, [[x, h - 4], [x, h]], theme.quiet, 1);
    number(text, x, h - 7, "center");
  }
  for (const [place, text] of placesOf(b, bottom, top)) level(at(b, place)[1], text);
}

// What is said of a flow's particles outside of the picture's box. The box leaves out 1 in 1000 of a
// crowd on each side.
function outside({ now, N, C }) {
  const axes = line1d ? [0] : view.space ? [0, 1, 2] : view.axes;
  let count = 0;
  for (let i = 0; i < N; i++) if (!axes.every((c) => now[i * C + c] >= facts.low[c] && now[i * C + c] <= facts.high[c])) count += 1;
  if (N <= 20000) return count ? `${count} of ${N} outside` : "";
  return count > 0.002 * axes.length * N ? `${((100 * count) / N).toPrecision(2)} % outside` : "";
}
