// Paint a mask over a picture: brush, eraser, undo. White is where to fill.

import { make } from "./dom.js";

/** An editor for one picture. */
export class MaskEditor {
  constructor(image) {
    this.width = image.naturalWidth;
    this.height = image.naturalHeight;
    this.strokes = [];
    this.undone = [];
    this.erases = false;
    this.cursor = [this.width / 2, this.height / 2];
    this.canvas = make("canvas", {
      width: this.width, height: this.height, tabIndex: 0, role: "img",
      "aria-label": "Mask. Drag to paint; by keyboard, arrows move the brush, space paints, Z takes back.",
      onpointerdown: (event) => this.#down(event), onpointermove: (event) => this.#move(event),
      onpointerup: () => this.#end(), onpointercancel: () => this.#end(),
      onpointerleave: () => { this.ring.hidden = document.activeElement !== this.canvas; },
      onkeydown: (event) => this.#key(event), onfocus: () => this.#ring(), onblur: () => { this.ring.hidden = true; },
    });
    this.ring = make("div", { class: "ring", hidden: true });
    const most = Math.max(16, Math.round(Math.max(this.width, this.height) / 4));
    this.size = make("input", {
      type: "range", min: "1", max: String(most), value: String(Math.max(4, Math.round(most / 6))),
      "aria-label": "Brush size", oninput: () => this.#ring(),
    });
    const tool = (name, erases) => make("button", {
      type: "button", "aria-pressed": String(!erases), onclick: () => {
        this.erases = erases;
        this.tools.forEach((each, n) => each.setAttribute("aria-pressed", String((n === 1) === erases)));
      },
    }, name);
    this.tools = [tool("Brush", false), tool("Eraser", true)];
    const button = (text, work) => make("button", { type: "button", onclick: work }, text);
    const bar = make("div", { class: "viewbar" }, ...this.tools, make("label", {}, "Size ", this.size),
      button("Undo", () => this.undo()), button("Redo", () => this.redo()), button("Clear", () => this.clear()));
    this.sheet = make("div", { class: "sheet" }, image, this.canvas, this.ring);
    image.removeAttribute("style");
    this.sheet.style.width = `min(100%, ${Math.max(480, this.width)}px, ${(70 * this.width) / this.height}vh)`;
    this.root = make("div", { class: "viewer mask" }, this.sheet, bar);
    this.#paint();
  }

  /** Whether nothing is marked. */
  get empty() {
    return !this.strokes.some((stroke) => !stroke.erases);
  }

  undo() {
    if (this.strokes.length) this.undone.push(this.strokes.pop());
    this.#paint();
  }

  redo() {
    if (this.undone.length) this.strokes.push(this.undone.pop());
    this.#paint();
  }

  clear() {
    this.strokes = [];
    this.undone = [];
    this.#paint();
  }

  /** The mask as a file of the picture's size: white where to fill, else black, and nothing between. */
  file() {
    const canvas = make("canvas", { width: this.width, height: this.height });
    const context = canvas.getContext("2d");
    context.drawImage(this.canvas, 0, 0);
    const seen = context.getImageData(0, 0, this.width, this.height);
    for (let at = 0; at < seen.data.length; at += 4) {
      seen.data.fill(seen.data[at + 3] >= 128 ? 255 : 0, at, at + 3);
      seen.data[at + 3] = 255;
    }
    context.putImageData(seen, 0, 0);
    return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  }

  #paint() {
    const context = this.canvas.getContext("2d", { willReadFrequently: true });
    context.clearRect(0, 0, this.width, this.height);
    for (const stroke of this.strokes) this.#stroke(context, stroke, 0);
  }

  #stroke(context, stroke, from) {
    context.globalCompositeOperation = stroke.erases ? "destination-out" : "source-over";
    context.strokeStyle = context.fillStyle = "rgb(255 90 40)";
    context.lineCap = context.lineJoin = "round";
    context.lineWidth = stroke.size;
    const points = stroke.points.slice(Math.max(0, from - 1));
    context.beginPath();
    if (points.length === 1) {
      context.arc(points[0][0], points[0][1], stroke.size / 2, 0, 2 * Math.PI);
      context.fill();
    } else {
      context.moveTo(...points[0]);
      for (const point of points.slice(1)) context.lineTo(...point);
      context.stroke();
    }
  }

  #begin(point) {
    this.undone = [];
    this.now = { erases: this.erases, size: Number(this.size.value), points: [point] };
    this.strokes.push(this.now);
    this.#stroke(this.canvas.getContext("2d"), this.now, 0);
  }

  #end() {
    this.now = null;
  }

  #at(event) {
    const box = this.canvas.getBoundingClientRect();
    return [((event.clientX - box.left) * this.width) / box.width, ((event.clientY - box.top) * this.height) / box.height];
  }

  #down(event) {
    if (event.button > 0) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.cursor = this.#at(event);
    this.#begin(this.cursor);
  }

  #move(event) {
    this.cursor = this.#at(event);
    this.#ring();
    if (!this.now) return;
    this.now.points.push(this.cursor);
    this.#stroke(this.canvas.getContext("2d"), this.now, this.now.points.length - 1);
  }

  #ring() {
    const box = this.canvas.getBoundingClientRect();
    const scale = box.width / this.width, size = Math.max(4, this.size.value * scale);
    this.ring.hidden = false;
    this.ring.style.width = this.ring.style.height = `${size}px`;
    this.ring.style.left = `${this.cursor[0] * scale}px`;
    this.ring.style.top = `${this.cursor[1] * scale}px`;
  }

  #key(event) {
    const step = (event.shiftKey ? 40 : 8) * (this.width / this.canvas.getBoundingClientRect().width);
    const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
    if (dx || dy) {
      this.cursor = [
        Math.min(this.width, Math.max(0, this.cursor[0] + dx * step)),
        Math.min(this.height, Math.max(0, this.cursor[1] + dy * step)),
      ];
      this.#ring();
    } else if (event.key === " " || event.key === "Enter") {
      this.#begin(this.cursor);
      this.#end();
    } else if (event.key.toLowerCase() === "z") (event.shiftKey ? this.redo() : this.undo());
    else return;
    event.preventDefault();
  }
}
