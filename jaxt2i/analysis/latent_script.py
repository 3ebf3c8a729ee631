"""What makes the maps of the latent page move: pointing, dragging, wheel, buttons, arrow keys."""

# Plain JavaScript without anything loaded; texts are set as text, never as HTML.
SCRIPT = r"""
"use strict";
const maps = JSON.parse(document.getElementById("maps").textContent);
for (const box of document.querySelectorAll(".map")) start(box, maps[box.dataset.map]);

function load(source) { const image = new Image(); image.src = source; return image; }

function start(box, map) {
  const canvas = box.querySelector("canvas"), pen = canvas.getContext("2d");
  const tip = box.querySelector(".tip"), about = tip.querySelector("p");
  const large = tip.querySelectorAll("canvas");
  const sprite = load(map.sprite), more = map.more ? load(map.more) : null;
  const [width, height] = map.size, points = map.points;
  const crowd = Math.sqrt(points.length);
  let view = { scale: 1, x: 0, y: 0 }, held = null, hovered = -1;

  const side = () => canvas.clientWidth;
  const shown = () => Math.max(10, Math.min(72, 0.75 * side() / crowd * Math.sqrt(view.scale)));
  const place = (p) => [(0.05 + 0.9 * p[0] - view.x) * view.scale * side(),
                        (0.95 - 0.9 * p[1] - view.y) * view.scale * side()];

  function draw() {
    const dense = window.devicePixelRatio || 1, wide = side();
    canvas.width = canvas.height = Math.round(wide * dense);
    pen.setTransform(dense, 0, 0, dense, 0, 0);
    pen.imageSmoothingEnabled = width > 16;
    const s = shown();
    for (let i = points.length - 1; i >= 0; i--) if (i !== hovered) one(i, s);
    if (hovered >= 0) {
      one(hovered, 1.5 * s);
      const [x, y] = place(points[hovered]);
      pen.strokeStyle = "#c53030"; pen.lineWidth = 2;
      pen.strokeRect(x - 0.75 * s, y - 0.75 * s, 1.5 * s, 1.5 * s);
    }
  }

  function one(i, s) {
    const [x, y] = place(points[i]), wide = side();
    if (x < -s || y < -s || x > wide + s || y > wide + s) return;
    const left = (i % map.columns) * width, top = Math.floor(i / map.columns) * height;
    pen.drawImage(sprite, left, top, width, height, x - s / 2, y - s / 2, s, s);
    pen.strokeStyle = "#aab2bb"; pen.lineWidth = 0.5;
    pen.strokeRect(x - s / 2, y - s / 2, s, s);
  }

  function enlarge(target, image, columns, size, i, scale) {
    const [w, h] = size, ink = target.getContext("2d");
    target.width = w * scale; target.height = h * scale; target.hidden = false;
    ink.imageSmoothingEnabled = false;
    ink.drawImage(image, (i % columns) * w, Math.floor(i / columns) * h, w, h,
                  0, 0, w * scale, h * scale);
  }

  function tell(i) {
    hovered = i;
    tip.hidden = i < 0;
    if (i >= 0) {
      about.textContent = map.texts[i];
      enlarge(large[0], sprite, map.columns, map.size, i, Math.max(1, Math.round(112 / height)));
      if (more) enlarge(large[1], more, map.moreColumns, map.moreSize, i, 4);
    }
    draw();
  }

  function nearest(event) {
    const frame = canvas.getBoundingClientRect();
    const x = event.clientX - frame.left, y = event.clientY - frame.top;
    let best = -1, least = shown() * shown();
    points.forEach((p, i) => {
      const [a, b] = place(p), gap = (a - x) ** 2 + (b - y) ** 2;
      if (gap < least) { least = gap; best = i; }
    });
    return best;
  }

  function zoom(factor, x, y) {
    const next = Math.max(1, Math.min(24, view.scale * factor));
    view.x += x / side() * (1 / view.scale - 1 / next);
    view.y += y / side() * (1 / view.scale - 1 / next);
    view.scale = next;
    if (next === 1) { view.x = view.y = 0; }
    draw();
  }

  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 400), event.offsetX, event.offsetY);
  }, { passive: false });
  canvas.addEventListener("pointerdown", (event) => {
    held = { x: event.clientX, y: event.clientY, view: { ...view } };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointerup", () => { held = null; });
  canvas.addEventListener("pointercancel", () => { held = null; });
  canvas.addEventListener("pointermove", (event) => {
    if (held && view.scale > 1) {
      view.x = held.view.x - (event.clientX - held.x) / side() / view.scale;
      view.y = held.view.y - (event.clientY - held.y) / side() / view.scale;
      draw();
      return;
    }
    const i = nearest(event);
    if (i !== hovered) tell(i);
  });
  canvas.addEventListener("click", (event) => tell(nearest(event)));
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    tell((hovered + step + points.length) % points.length);
  });
  for (const button of box.querySelectorAll("button")) {
    button.addEventListener("click", () => {
      zoom(Number(button.dataset.zoom), side() / 2, side() / 2);
    });
  }
  sprite.addEventListener("load", draw);
  window.addEventListener("resize", draw);
  draw();
}
"""

STYLE = """
.map { position: relative; max-width: 42rem; margin: 1rem 0; }
.map > canvas { display: block; width: 100%; aspect-ratio: 1; border: 1px solid var(--line);
  border-radius: 4px; background: #f2f2f2; touch-action: pan-y; cursor: crosshair; }
.map button { font: inherit; padding: 0.1rem 0.7rem; margin-inline-end: 0.3rem; }
.tip { position: absolute; inset-block-start: 2.6rem; inset-inline-end: 0.5rem; max-width: 18rem;
  padding: 0.6rem; color: var(--ink); background: var(--paper); border: 1px solid var(--line);
  border-radius: 4px; pointer-events: none; }
@media (min-width: 64rem) {
  .tip { inset-inline: calc(100% + 0.6rem) auto; width: 17rem; }
}
.tip p { margin: 0 0 0.4rem; }
.tip canvas { max-width: 100%; margin-block-end: 0.3rem; image-rendering: pixelated; }
.answer { font-weight: 600; }
.wide td small { display: block; }
.verdict-yes { color: #2f7d4f; } .verdict-no { color: #c53030; }
@media (prefers-color-scheme: dark) {
  .verdict-yes { color: #7fd3a0; } .verdict-no { color: #f39a9a; }
}
details { margin: 0.5rem 0; } summary { cursor: pointer; color: var(--accent); }
.pairs td img { image-rendering: pixelated; height: 2rem; width: auto; display: inline-block;
  margin-inline-end: 2px; vertical-align: middle; }
"""
