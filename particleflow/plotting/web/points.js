"use strict";
// Draws many points on a canvas: as discs, or with WebGL2 where they are a crowd. Colours are
// [red, green, blue]; a palette is a list of colours, and a shade is the number of one of them.

const $ = (id) => document.getElementById(id);
const clamp = (x, low, high) => Math.min(Math.max(x, low), high);
const numbers = (n) => Array.from({ length: n }, (_, k) => k);
function make(tag, to, text) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (to) to.append(made);
  return made;
}

const CROWD = 5000;  // points from which on WebGL draws
const SHADES = 32;   // colours of a scale

const channels = (hex) => [1, 3, 5].map((k) => parseInt(hex.slice(k, k + 2), 16));
const css = (rgb, alpha = 1) => `rgba(${rgb[0]},${rgb[1]},${rgb[2]},${alpha})`;

function scale(stops) {
  const ends = stops.map(channels);
  return numbers(SHADES).map((k) => {
    const at = (k / (SHADES - 1)) * (ends.length - 1), j = Math.min(Math.floor(at), ends.length - 2);
    return ends[j].map((low, c) => Math.round(low + (at - j) * (ends[j + 1][c] - low)));
  });
}

// Particles by shade, so that one path is filled for each: [[numbers of shade 0], ...].
function byShade(count, shade, chosen) {
  const sorted = numbers(shade ? SHADES : 1).map(() => []);
  for (let i = 0; i < count; i++) if (chosen(i)) sorted[shade ? shade[i] : 0].push(i);
  return sorted;
}

// Canvas: discs, or squares where no eye sees the difference.
function dots(pen, flat, sorted, palette, radius, alpha) {
  pen.globalAlpha = alpha;
  sorted.forEach((members, s) => {
    pen.beginPath();
    for (const i of members) {
      const x = flat[2 * i], y = flat[2 * i + 1];
      if (radius < 1.5 && !pen.vector) pen.rect(x - radius, y - radius, 2 * radius, 2 * radius);
      else { pen.moveTo(x + radius, y); pen.arc(x, y, radius, 0, 2 * Math.PI); }
    }
    pen.fillStyle = css(palette[s]);
    pen.fill();
  });
  pen.globalAlpha = 1;
}

function cloud(panel, flat, count, shade, palette, alpha, group) {
  const { pen, w, h } = panel, radius = clamp(0.075 * Math.sqrt((w * h) / count), 0.8, 4);
  if (count > CROWD && startGL()) return crowd(panel, flat, count, shade, palette, radius, alpha, group);
  if (group) dots(pen, flat, byShade(count, shade, (i) => !group[i]), palette, radius, 0.12 * alpha);
  dots(pen, flat, byShade(count, shade, (i) => !group || group[i]), palette, radius, alpha);
}

// WebGL2: all points of a panel in one call, on a canvas that is then copied.
const gl = {};
function crowd({ pen, w, h, ratio }, flat, count, shade, palette, radius, alpha, group) {
  const { on, canvas } = gl;
  if (canvas.width !== Math.round(w * ratio) || canvas.height !== Math.round(h * ratio)) [canvas.width, canvas.height] = [w * ratio, h * ratio];
  on.viewport(0, 0, canvas.width, canvas.height);
  on.clear(on.COLOR_BUFFER_BIT);
  if (!gl.tints || gl.tints.length < 4 * count) gl.tints = new Uint8Array(4 * count);
  for (let i = 0, at = 0; i < count; i++) {
    const rgb = palette[shade ? shade[i] : 0];
    gl.tints[at++] = rgb[0]; gl.tints[at++] = rgb[1]; gl.tints[at++] = rgb[2];
    gl.tints[at++] = 255 * alpha * (group && !group[i] ? 0.12 : 1);
  }
  [[gl.where, flat, 2, on.FLOAT], [gl.tint, gl.tints, 4, on.UNSIGNED_BYTE]].forEach(([buffer, values, size, kind], k) => {
    on.bindBuffer(on.ARRAY_BUFFER, buffer);
    on.bufferData(on.ARRAY_BUFFER, values.subarray(0, size * count), on.STREAM_DRAW);
    on.vertexAttribPointer(k, size, kind, k === 1, 0, 0);
  });
  on.uniform3f(gl.size, w, h, 2 * radius * ratio);
  on.drawArrays(on.POINTS, 0, count);
  pen.drawImage(canvas, 0, 0, w, h);
}

// A disc with an edge of one pixel. `size`: width and height of the canvas, diameter of the disc.
const SHADERS = { VERTEX_SHADER: `#version 300 es
layout(location = 0) in vec2 at; layout(location = 1) in vec4 tint; uniform vec3 size; out vec4 colour;
void main() { gl_Position = vec4(2. * at.x / size.x - 1., 1. - 2. * at.y / size.y, 0., 1.); gl_PointSize = size.z + 1.; colour = tint; }`,
FRAGMENT_SHADER: `#version 300 es
precision highp float; in vec4 colour; uniform vec3 size; out vec4 seen;
void main() { float from = (size.z + 1.) * length(gl_PointCoord - .5); seen = colour * vec4(1., 1., 1., clamp(size.z / 2. + .5 - from, 0., 1.)); }` };

// Is there WebGL2? Started at its first use.
function startGL() {
  if (gl.asked) return Boolean(gl.on);
  gl.asked = true;
  const canvas = make("canvas"), on = canvas.getContext("webgl2", { premultipliedAlpha: false, preserveDrawingBuffer: true });
  if (!on) return false;
  const program = on.createProgram();
  for (const [kind, text] of Object.entries(SHADERS)) {
    const shader = on.createShader(on[kind]);
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
