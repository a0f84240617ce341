// The pointer on a panel, of a mouse or of fingers: to look, to move, to zoom, to turn, and the lasso.

function listen(panel) {
  const { canvas } = panel, fingers = new Map();
  let gap = 0;
  const here = (event) => {
    const box = canvas.getBoundingClientRect();  // around the border
    return [event.clientX - box.left - canvas.clientLeft, event.clientY - box.top - canvas.clientTop];
  };
  // of two fingers
  const distance = () => { const [a, b] = [...fingers.values()]; return b ? Math.hypot(a[0] - b[0], a[1] - b[1]) : 0; };
  const lift = (event) => {
    fingers.delete(event.pointerId);
    gap = 0;
    if (panel.loop) { follow(panel, panel.loop); panel.loop = null; }
    remember();
    ask();
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, here(event));
    gap = distance();
    if (view.lasso || event.shiftKey) panel.loop = [here(event)];
    if (event.pointerType === "touch") hover(panel, here(event), event);
  });
  canvas.addEventListener("pointermove", (event) => {
    const at = here(event), was = fingers.get(event.pointerId);
    if (!was) return hover(panel, at, event);
    fingers.set(event.pointerId, at);
    if (panel.loop) panel.loop.push(at);
    else if (fingers.size === 2) {
      const [a, b] = [...fingers.values()], far = distance();
      drag(panel, (at[0] - was[0]) / 2, (at[1] - was[1]) / 2);
      if (gap) zoom(panel, [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2], far / gap);
      gap = far;
    } else drag(panel, at[0] - was[0], at[1] - was[1]);
    $("tip").hidden = true;
  });
  // two fingers are for the picture, where one finger scrolls the page
  canvas.addEventListener("touchmove", (event) => { if (event.touches.length > 1) event.preventDefault(); }, { passive: false });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, lift);
  // a finger that was lifted leaves its particle shown
  canvas.addEventListener("pointerleave", (event) => { if (event.pointerType === "touch") return; view.hover = -1; $("tip").hidden = true; ask(); });
  canvas.addEventListener("dblclick", reset);
  canvas.addEventListener("wheel", (event) => { if (!line1d) { event.preventDefault(); zoom(panel, here(event), Math.exp(-event.deltaY / 400)); } }, { passive: false });
}

// Moves the picture by so many pixels, or turns it.
function drag(panel, x, y) {
  const { seen } = panel;
  if (seen.kind === "space") view.turn = [view.turn[0] + x / 150, clamp(view.turn[1] + y / 150, -1.5, 1.5)];
  if (seen.kind === "plane") view.centre = [view.centre[0] - x / seen.unit, view.centre[1] + y / seen.unit];
  changed(panel);
}

// The next event of the pointer may come before the next drawing.
function changed(panel) { panel.seen = projection(panel.w, panel.h, panel.group[0].C); ask(); }

function zoom(panel, at, factor) {
  const { seen } = panel;
  if (seen.kind === "line") return;
  const next = clamp(view.zoom * factor, 0.2, 200), fixed = seen.back && seen.back(...at);
  if (fixed) view.centre = fixed.map((x, k) => x + (view.centre[k] - x) * (view.zoom / next));
  view.zoom = next;
  changed(panel);
}

// The particle nearest to the pointer, within 12 pixels, or 24 of a finger: its path is shown in every flow.
function hover(panel, at, event) {
  let best = (event.pointerType === "touch" ? 24 : 12) ** 2, found = null;
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
    $("tip").textContent = `particle ${i}  (${numbers(Math.min(flow.C, 3)).map((c) => coordinate(c, flow.now[i * flow.C + c])).join(", ")})  speed ${short(flow.speeds[flow.record][i])}`;
    $("tip").style.left = clamp(event.clientX - box.left + 14, 0, Math.max(0, box.width - $("tip").offsetWidth - 4)) + "px";
    $("tip").style.top = event.clientY - box.top + 16 + "px";
  }
  ask();
}

// The particles inside a loop, by number, are followed in every flow.
function follow(panel, loop) {
  const [flow] = panel.group, group = new Uint8Array(Math.max(...flows.map((each) => each.N)));
  for (let i = 0; i < flow.N; i++) {
    const x = flow.flat[2 * i], y = flow.flat[2 * i + 1];
    loop.forEach(([a, b], k) => {
      const [c, d] = loop[k ? k - 1 : loop.length - 1];
      if (b > y !== d > y && x < ((c - a) * (y - b)) / (d - b) + a) group[i] ^= 1;
    });
  }
  view.group = group.includes(1) ? group : null;
}
