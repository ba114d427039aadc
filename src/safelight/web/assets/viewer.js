// Look at a picture before and after: a slider between the two, zoom, and a magnifier at 100 %.

import { make } from "./dom.js";

const ZOOMS = [0.125, 0.25, 0.5, 1, 2, 4, 8];
const LENS = 170; // CSS pixels of each half of the magnifier

/** Where one looks: several viewers that share it move together. */
export class View {
  constructor() {
    this.zoom = null; // device pixels for a pixel of the picture; null: as large as there is room
    this.x = 0.5; // of the picture, what lies in the middle
    this.y = 0.5;
    this.lens = null; // [x, y] of the picture where the magnifier is
    this.listeners = new Set();
  }

  set(values) {
    Object.assign(this, values);
    this.x = Math.min(1, Math.max(0, this.x));
    this.y = Math.min(1, Math.max(0, this.y));
    for (const listener of this.listeners) listener();
  }
}

/** One frame with a picture, or with two and a slider. */
export class Viewer {
  constructor(view = new View()) {
    this.view = view;
    this.split = 0.5;
    this.before = this.after = null;
    this.width = this.height = 0;
    this.pointers = new Map();
    this.#build();
    view.listeners.add(() => this.#place());
    new ResizeObserver(() => this.#place()).observe(this.frame);
  }

  #build() {
    this.layers = { after: make("div", { class: "layer" }), before: make("div", { class: "layer" }) };
    this.edge = make("div", { class: "edge" });
    this.tags = make("div", { class: "tags", "aria-hidden": "true" }, make("span", {}, "before"), make("span", {}, "after"));
    this.lens = make("div", { class: "lens", hidden: true, "aria-hidden": "true" });
    this.panes = ["before", "after"].map((name) => {
      const canvas = make("canvas", {});
      this.lens.append(make("figure", {}, canvas, make("figcaption", {}, `${name}, 100 %`)));
      return canvas;
    });
    this.frame = make(
      "div",
      {
        class: "frame", tabIndex: 0, role: "group",
        "aria-label": "Picture. Arrows move, plus and minus zoom, 0 fits, 1 is 100 %, M is the magnifier.",
        onkeydown: (event) => this.#key(event), onwheel: (event) => this.#wheel(event),
        onpointerdown: (event) => this.#down(event), onpointermove: (event) => this.#move(event),
        onpointerup: (event) => this.#up(event), onpointercancel: (event) => this.#up(event),
        onpointerleave: () => { if (this.loupe?.getAttribute("aria-pressed") === "true") this.view.set({ lens: null }); },
      },
      this.layers.after, this.layers.before, this.edge, this.tags, this.lens,
    );
    this.slider = make("input", {
      type: "range", min: "0", max: "100", step: "0.1", value: "50", class: "split", "aria-label": "Before and after",
      oninput: () => { this.split = this.slider.value / 100; this.#place(); },
    });
    const zoom = (text, value) =>
      make("button", { type: "button", class: "plain", onclick: () => this.view.set({ zoom: value }) }, text);
    this.loupe = make("button", {
      type: "button", class: "plain", "aria-pressed": "false", onclick: () => this.#toggle(),
    }, "Magnifier");
    this.size = make("span", { class: "size" });
    this.bar = make("div", { class: "viewbar" }, this.slider, zoom("Fit", null), zoom("100 %", 1), zoom("200 %", 2),
      this.loupe, this.size);
    this.root = make("div", { class: "viewer" }, this.frame, this.bar);
  }

  /** Show image elements: one, or what it was and what it became. The frame keeps where one looks. */
  show(before, after = null) {
    const last = after ?? before;
    this.before = after === null ? null : before;
    this.after = last;
    this.width = last.naturalWidth;
    this.height = last.naturalHeight;
    this.layers.after.replaceChildren(last);
    this.layers.before.replaceChildren(...(this.before === null ? [] : [this.before]));
    const two = this.before !== null;
    for (const part of [this.slider, this.edge, this.tags, this.layers.before]) part.hidden = !two;
    this.size.textContent = `${this.width} × ${this.height}`;
    this.frame.style.aspectRatio = `${this.width} / ${this.height}`;
    this.#place();
  }

  #scale() {
    const box = this.frame.getBoundingClientRect();
    if (!this.width || !box.width) return { box, scale: 1 };
    const fit = Math.min(box.width / this.width, box.height / this.height);
    return { box, fit, scale: this.view.zoom === null ? fit : this.view.zoom / devicePixelRatio };
  }

  #place() {
    if (!this.width) return;
    const { box, scale } = this.#scale();
    const width = this.width * scale, height = this.height * scale;
    const side = (room, length, at) =>
      length <= room ? (room - length) / 2 : Math.min(0, Math.max(room - length, room / 2 - at * length));
    const left = side(box.width, width, this.view.x), top = side(box.height, height, this.view.y);
    this.place = { left, top, scale };
    for (const image of [this.before, this.after]) {
      if (image === null) continue;
      image.style.width = `${width}px`;
      image.style.height = `${height}px`;
      image.style.transform = `translate(${left}px, ${top}px)`;
      image.style.imageRendering = scale * devicePixelRatio >= 2 ? "pixelated" : "auto";
    }
    const at = this.split * 100;
    this.layers.before.style.clipPath = `inset(0 ${100 - at}% 0 0)`;
    this.edge.style.left = `${at}%`;
    this.slider.value = String(at);
    this.frame.classList.toggle("zoomed", width > box.width + 1 || height > box.height + 1);
    this.#magnify();
  }

  #at(event) {
    const box = this.frame.getBoundingClientRect();
    const { left, top, scale } = this.place ?? { left: 0, top: 0, scale: 1 };
    return [(event.clientX - box.left - left) / scale / this.width, (event.clientY - box.top - top) / scale / this.height];
  }

  // --- pointers ---

  #down(event) {
    if (event.button > 0 || !this.width) return;
    this.frame.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, [event.clientX, event.clientY]);
    const box = this.frame.getBoundingClientRect();
    const near = Math.abs(event.clientX - box.left - this.split * box.width) < 24;
    this.drags = this.before !== null && (near || !this.frame.classList.contains("zoomed")) ? "edge" : "picture";
    this.#move(event);
  }

  #move(event) {
    if (this.loupe.getAttribute("aria-pressed") === "true") this.view.set({ lens: this.#at(event) });
    const last = this.pointers.get(event.pointerId);
    if (last === undefined) return;
    const others = [...this.pointers].filter(([id]) => id !== event.pointerId).map(([, point]) => point);
    this.pointers.set(event.pointerId, [event.clientX, event.clientY]);
    if (others.length) { // two fingers: their distance is the zoom
      const far = (point) => Math.hypot(point[0] - others[0][0], point[1] - others[0][1]);
      this.#zoom(far([event.clientX, event.clientY]) / Math.max(1, far(last)));
    } else if (this.drags === "edge") {
      const box = this.frame.getBoundingClientRect();
      this.split = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
      this.#place();
    } else {
      const { scale } = this.place;
      this.view.set({
        x: this.view.x - (event.clientX - last[0]) / scale / this.width,
        y: this.view.y - (event.clientY - last[1]) / scale / this.height,
      });
    }
  }

  #up(event) {
    this.pointers.delete(event.pointerId);
  }

  #wheel(event) {
    if (!this.width || !(event.ctrlKey || this.frame.matches(":focus"))) return; // or the page would not scroll over it
    event.preventDefault();
    const [x, y] = this.#at(event);
    const before = this.#scale().scale;
    const zoom = Math.min(16, Math.max(0.05, before * devicePixelRatio * Math.exp(-event.deltaY / 400)));
    const grown = zoom / devicePixelRatio / before;
    this.view.set({ zoom, x: x + (this.view.x - x) / grown, y: y + (this.view.y - y) / grown });
  }

  #zoom(factor) {
    const zoom = this.#scale().scale * devicePixelRatio * factor;
    this.view.set({ zoom: Math.min(16, Math.max(0.05, zoom)) });
  }

  // --- keys ---

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target !== this.frame) return;
    const now = this.#scale().scale * devicePixelRatio;
    const step = 40 / ((this.place?.scale ?? 1) * Math.max(1, this.width));
    const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
    if (dx || dy) {
      const lens = this.view.lens;
      if (lens) this.view.set({ lens: [lens[0] + dx * step, lens[1] + dy * step] });
      else this.view.set({ x: this.view.x + dx * step, y: this.view.y + dy * step });
    } else if (event.key === "+" || event.key === "=") this.view.set({ zoom: ZOOMS.find((z) => z > now * 1.01) ?? 8 });
    else if (event.key === "-") this.view.set({ zoom: ZOOMS.findLast((z) => z < now * 0.99) ?? 0.125 });
    else if (event.key === "0") this.view.set({ zoom: null, x: 0.5, y: 0.5 });
    else if (event.key === "1") this.view.set({ zoom: 1 });
    else if (event.key.toLowerCase() === "m") this.#toggle();
    else return;
    event.preventDefault();
  }

  // --- the magnifier ---

  #toggle() {
    const on = this.loupe.getAttribute("aria-pressed") !== "true";
    this.loupe.setAttribute("aria-pressed", String(on));
    this.view.set({ lens: on ? [0.5, 0.5] : null });
  }

  #magnify() {
    const at = this.view.lens;
    this.lens.hidden = at === null;
    if (at === null) return;
    const pixels = Math.round(LENS * devicePixelRatio);
    const pictures = [this.before, this.after];
    for (const [n, canvas] of this.panes.entries()) {
      const image = pictures[n];
      canvas.parentElement.hidden = image === null;
      if (image === null) continue;
      canvas.width = canvas.height = pixels;
      const ratio = image.naturalWidth / this.width;
      const context = canvas.getContext("2d");
      context.imageSmoothingEnabled = ratio !== 1;
      const x = at[0] * this.width - pixels / 2, y = at[1] * this.height - pixels / 2;
      context.drawImage(image, x * ratio, y * ratio, pixels * ratio, pixels * ratio, 0, 0, pixels, pixels);
    }
    const { left, top, scale } = this.place;
    const box = this.frame.getBoundingClientRect();
    const wide = (this.before === null ? 1 : 2) * (LENS + 6), high = LENS + 30;
    const x = left + at[0] * this.width * scale, y = top + at[1] * this.height * scale;
    this.lens.style.left = `${Math.min(Math.max(0, box.width - wide), Math.max(0, x - wide / 2))}px`;
    this.lens.style.top = `${y - high - 16 > 0 ? y - high - 16 : Math.min(y + 16, Math.max(0, box.height - high))}px`;
  }
}
