// What a reader sees of a page, for browser.py.

// Everything that can be used or says something, as boxes: [name, left, top, right, bottom]. A label
// and its input are one box.
function boxes() {
  const parts = "h1, button, label, canvas, figcaption, summary, td, #moment";
  return [...document.querySelectorAll(parts)]
    .filter((part) => part.checkVisibility() && !part.closest("label button"))
    .map((part) => {
      const { left, top, right, bottom } = part.getBoundingClientRect();
      return [part.id || part.textContent.slice(0, 20), left, top, right, bottom];
    })
    .filter(([, left, top, right, bottom]) => right - left > 1 && bottom - top > 1);
}

const channels = (css) => (css.match(/[\d.]+/g) || []).map(Number);

// The relative luminance of WCAG 2.
function luminance(colour) {
  const linear = (v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return [0.2126, 0.7152, 0.0722].reduce((sum, part, k) => sum + part * linear(colour[k] / 255), 0);
}

function ground(part) {
  for (; part; part = part.parentElement) {
    const colour = channels(getComputedStyle(part).backgroundColor);
    if (colour.length === 3 || colour[3] > 0.99) return colour;
  }
  return [255, 255, 255];
}

// The contrast of each piece of text with what is behind it, by WCAG 2: [text, ratio].
function contrasts() {
  const says = (part) => [...part.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
  return [...document.querySelectorAll("body *")]
    .filter((part) => part.checkVisibility() && says(part) && !["SCRIPT", "STYLE", "OPTION"].includes(part.tagName))
    .map((part) => {
      const both = [channels(getComputedStyle(part).color), ground(part)].map(luminance);
      return [part.textContent.slice(0, 30), (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05)];
    });
}
