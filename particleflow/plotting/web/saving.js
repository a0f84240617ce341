// The present frame as a file: a PNG, or an SVG of circles, lines and letters. The frame has the
// title, the moment, the panels and the curves below or beside them, without the controls.

// Takes the calls of a canvas' pen and keeps them as parts of an SVG. Pictures stay pictures.
class Vector {
  constructor(ruler) {
    Object.assign(this, { vector: true, ruler, parts: [], turn: 0, dash: [], font: "11px sans-serif", textAlign: "left", globalAlpha: 1, lineWidth: 1 });
    this.beginPath();
  }
  beginPath() { this.lines = []; this.circles = []; }
  moveTo(x, y) { this.lines.push([[x, y]]); }
  lineTo(x, y) { if (this.lines.length) this.lines[this.lines.length - 1].push([x, y]); else this.moveTo(x, y); }
  arc(x, y, radius) { this.circles.push([x, y, radius]); }
  rect(x, y, w, h) { this.lines.push([[x, y], [x + w, y], [x + w, y + h], [x, y + h], [x, y]]); }
  setLineDash(dash) { this.dash = dash; }
  rotate(angle) { this.turn += angle; }
  fill() { this.shapes(`fill="${this.tone(this.fillStyle)}" fill-opacity="${this.alpha(this.fillStyle)}"`); }
  stroke() {
    const dash = this.dash.length ? ` stroke-dasharray="${this.dash}"` : "";
    this.shapes(`fill="none" stroke="${this.tone(this.strokeStyle)}" stroke-opacity="${this.alpha(this.strokeStyle)}" stroke-width="${this.lineWidth}" stroke-linejoin="round"${dash}`);
  }
  shapes(look) {
    const at = (x) => +x.toFixed(2), path = this.lines.filter((points) => points.length > 1).map((points) => "M" + points.map(([x, y]) => `${at(x)} ${at(y)}`).join("L")).join("");
    const drawn = this.circles.map(([x, y, r]) => `<circle cx="${at(x)}" cy="${at(y)}" r="${at(r)}"/>`);
    if (path) drawn.push(`<path d="${path}"/>`);
    if (drawn.length) this.parts.push(`<g ${look}>`, ...drawn, "</g>");
  }
  fillRect(x, y, w, h) { this.beginPath(); this.rect(x, y, w, h); this.fill(); this.beginPath(); }
  fillText(text, x, y, most = Infinity) {
    const [, weight, size, family] = this.font.match(/^(\d+ )?(\S+px) (.*)$/), anchor = { left: "start", right: "end", center: "middle" }[this.textAlign];
    this.ruler.font = this.font;
    const tight = this.ruler.measureText(text).width > most ? ` textLength="${most}" lengthAdjust="spacingAndGlyphs"` : "";
    const turned = this.turn ? ` transform="rotate(${(180 * this.turn) / Math.PI})"` : "";
    this.parts.push(`<text x="${x.toFixed(2)}" y="${y.toFixed(2)}" fill="${this.tone(this.fillStyle)}" font-size="${size}" font-weight="${weight || 400}" font-family="${family}" text-anchor="${anchor}"${tight}${turned}>${quoted(text)}</text>`);
  }
  drawImage(sheet, x, y, w, h) {
    const sharp = this.imageSmoothingEnabled === false ? ' style="image-rendering:pixelated"' : "";
    this.parts.push(`<image x="${x}" y="${y}" width="${w}" height="${h}" preserveAspectRatio="none"${sharp} href="${sheet.toDataURL("image/png")}"/>`);
  }
  tone(colour) { return colour.startsWith("rgba") ? `rgb(${colour.match(/[\d.]+/g).slice(0, 3)})` : colour; }
  alpha(colour) { return +((colour.startsWith("rgba") ? +colour.match(/[\d.]+/g)[3] : 1) * this.globalAlpha).toFixed(3); }
}

const quoted = (text) => text.replace(/[&<>"]/g, (letter) => `&#${letter.charCodeAt(0)};`);
const TOP = 64;  // pixels above the panels, for title and moment

// Where each sheet stands in the frame, whose curves follow the panels at once: [sheet, x, y].
function arrangement() {
  const stage = $("stage").getBoundingClientRect(), below = $("panels").getBoundingClientRect().bottom;
  const open = charts.filter(({ canvas }) => canvas.checkVisibility()).map((chart) => [chart, chart.canvas.getBoundingClientRect()]);
  const first = Math.min(...open.map(([, box]) => box.top)), gap = first > below ? first - below - 34 : 0;
  const placed = panels.map((panel) => [panel, panel.canvas.getBoundingClientRect(), 0]).concat(open.map(([chart, box]) => [chart, box, gap]));
  const sheets = placed.map(([sheet, box, up]) => [sheet, box.left - stage.left + 8, box.top - up - stage.top + TOP]);
  return { sheets, w: stage.width + 16, h: Math.max(...sheets.map(([sheet, , y]) => y + sheet.h)) + 8 + 18 * Boolean(legend().length) };
}

// Writes the frame with a pen; `put` draws a sheet at a place.
function writeFrame(pen, { sheets, w, h }, put) {
  pen.fillStyle = theme.ground;
  pen.fillRect(0, 0, w, h);
  const say = (text, x, y, font, most = Infinity) => {
    const ruler = pen.ruler || pen;
    ruler.font = font;
    // a text that is too long is smaller, not squeezed
    const share = Math.min(1, most / ruler.measureText(text).width);
    [pen.font, pen.fillStyle, pen.textAlign] = [font.replace(/(\d+)px/, (_, size) => `${Math.max(7, Math.floor(size * share))}px`), theme.ink, "left"];
    pen.fillText(text, x, y, most);
  };
  say(facts.title, 8, 28, "600 22px system-ui, sans-serif", w - 16);
  say($("moment").textContent, 8, 50, "14px system-ui, sans-serif", w - 16);
  for (const [sheet, x, y] of sheets) {
    put(sheet, x, y);
    line(pen, [[x, y], [x + sheet.w, y], [x + sheet.w, y + sheet.h], [x, y + sheet.h], [x, y]], theme.line, 1);
    if (!sheet.group) { say(sheet.title, x, y - 6, "600 13px system-ui, sans-serif", sheet.w); continue; }
    say(sheet.captions.map(({ flow, told }) => [flow.name, told.textContent].filter(Boolean).join(": ")).join("   "), x, y - 6, "14px system-ui, sans-serif", sheet.w);
  }
  let x = 8;
  for (const { name, colour } of legend()) {
    say(name, x + 12, h - 8, "13px system-ui, sans-serif");
    pen.beginPath();
    pen.arc(x + 4, h - 12, 4, 0, 2 * Math.PI);
    pen.fillStyle = colour;
    pen.fill();
    x += 26 + 8 * name.length;
  }
}

function savePNG() {
  const frame = arrangement(), { ratio } = panels[0], sheet = make("canvas"), pen = sheet.getContext("2d");
  [sheet.width, sheet.height] = [frame.w * ratio, frame.h * ratio];
  pen.scale(ratio, ratio);
  writeFrame(pen, frame, ({ canvas, w, h }, x, y) => pen.drawImage(canvas, x, y, w, h));
  sheet.toBlob((blob) => save(blob, "png"));
}

function saveSVG() {
  const frame = arrangement(), { w, h } = frame, pen = new Vector(make("canvas").getContext("2d"));
  writeFrame(pen, frame, (sheet, x, y) => {
    const own = sheet.pen, clip = `c${pen.parts.length}`;
    pen.parts.push(`<clipPath id="${clip}"><rect width="${sheet.w}" height="${sheet.h}"/></clipPath>`, `<g transform="translate(${x.toFixed(2)} ${y.toFixed(2)})" clip-path="url(#${clip})">`);
    pen.fillStyle = theme.panel;
    pen.fillRect(0, 0, sheet.w, sheet.h);
    sheet.pen = pen;
    if (sheet.group) drawPanel(sheet); else drawChart(sheet);
    sheet.pen = own;
    pen.parts.push("</g>");
  });
  const text = `<svg xmlns="http://www.w3.org/2000/svg" width="${Math.round(w)}" height="${Math.round(h)}" viewBox="0 0 ${w.toFixed(2)} ${h.toFixed(2)}">\n<title>${quoted(facts.title)}</title>\n${pen.parts.join("\n")}\n</svg>\n`;
  save(new Blob([text], { type: "image/svg+xml" }), "svg");
}

function save(blob, kind) {
  const anchor = make("a"), address = URL.createObjectURL(blob);
  anchor.download = `frame-${Math.round(1000 * view.u)}.${kind}`;
  anchor.href = address;
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(address), 60000);
}
