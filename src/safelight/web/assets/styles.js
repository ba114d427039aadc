// Choose styles: a shelf of pictures that are mixed by sliders, or of the looks that networks were trained for.

import { made } from "./api.js";
import { make } from "./dom.js";
import { smaller } from "./files.js";

const SMALL = 256; // pixels of the longer side while a slider moves
// Textures that this project's own method made in the manner of paintings (tools/make_style_pictures.py).
const SWATCHES = ["starry-night", "wave", "composition-vii", "scream", "wheat-field", "shipwreck"];

const title = (name) => (name[0].toUpperCase() + name.slice(1)).replaceAll("-", " ");

/** Several styles, each with its share. */
export class Mixer {
  /** @param live called while a slider moves. @param settle called when it is let go. */
  constructor(live, settle) {
    this.live = live;
    this.settle = settle;
    this.styles = [];
    this.shelf = make("div", { class: "shelf", role: "group", "aria-label": "Styles" });
    this.input = make("input", {
      type: "file", accept: "image/*", multiple: true, hidden: true,
      onchange: () => { for (const file of this.input.files) this.add(file.name, file, true); this.input.value = ""; },
    });
    this.root = make("div", { class: "field" }, make("p", { class: "label" }, "Styles"), this.shelf, this.input,
      make("button", { type: "button", onclick: () => this.input.click() }, "Add a style picture"),
      make("small", {}, "Choose one or more; the sliders mix them, at a small size while they move."));
    for (const name of SWATCHES) this.#swatch(name);
  }

  async #swatch(name) {
    const place = this.#card(title(name), `/assets/style-${name}.jpg`);
    place.load = async () => (await fetch(`/assets/style-${name}.jpg`)).blob();
  }

  /** Put a picture on the shelf. */
  add(name, file, on) {
    const place = this.#card(name, URL.createObjectURL(file));
    place.load = async () => file;
    if (on) this.#switch(place, true);
  }

  /** Whether no style is chosen. */
  get empty() {
    return !this.styles.some((style) => style.on);
  }

  /** Append the chosen styles and their shares to a form. */
  async append(form) {
    const chosen = this.styles.filter((style) => style.on);
    for (const style of chosen) {
      style.file ??= await style.load();
      form.append("style", style.file, "style");
    }
    if (chosen.length > 1) form.append("style_weights", chosen.map((style) => (style.slider.value / 100).toFixed(3)).join(","));
  }

  #card(name, source) {
    const style = { on: false };
    style.slider = make("input", {
      type: "range", min: "1", max: "100", value: "50", hidden: true, "aria-label": `Share of ${name}`,
      oninput: () => this.live(), onchange: () => this.settle(),
    });
    style.button = make("button", {
      type: "button", class: "swatch", "aria-pressed": "false", title: name, onclick: () => this.#switch(style, !style.on),
    }, make("img", { loading: "lazy", src: source, alt: "" }), make("span", {}, name));
    this.styles.push(style);
    this.shelf.append(make("div", { class: "style" }, style.button, style.slider));
    return style;
  }

  #switch(style, on) {
    style.on = on;
    style.button.setAttribute("aria-pressed", String(on));
    const several = this.styles.filter((each) => each.on).length > 1;
    for (const each of this.styles) each.slider.hidden = !(each.on && several);
    this.settle();
  }
}

/** The looks of networks for one style each, shown on the picture at hand. */
export class Looks {
  constructor(verb, field, method, choose) {
    this.verb = verb;
    this.method = method;
    this.cards = field.choices.filter((look) => look !== "auto").map((look) => {
      const image = make("img", { alt: "" });
      const button = make("button", { type: "button", class: "swatch", title: look, onclick: () => choose(look) },
        image, make("span", {}, title(look)));
      return { look, image, button };
    });
    this.root = make("div", { class: "field" }, make("p", { class: "label" }, "Looks"),
      make("div", { class: "shelf" }, ...this.cards.map((card) => make("div", { class: "style" }, card.button))));
  }

  /** Mark the one that is chosen. */
  mark(look) {
    for (const card of this.cards) card.button.setAttribute("aria-pressed", String(card.look === look));
  }

  /** Try them on a picture, at a small size. */
  async show(image) {
    const small = await smaller(image, SMALL);
    for (const card of this.cards) {
      const form = new FormData();
      form.append("method", this.method);
      form.append("look", card.look);
      form.append("picture", small, "small.png");
      URL.revokeObjectURL(card.image.src);
      card.image.src = URL.createObjectURL(await made(this.verb, form));
    }
  }
}

/** Tries at a small size while something moves: one at a time, and then the latest. */
export class Live {
  constructor(tell) {
    this.tell = tell;
    this.busy = false;
    this.next = null;
  }

  /** @param form makes the form, when its turn comes. */
  async want(image, verb, form) {
    this.next = { image, verb, form };
    if (this.busy) return;
    this.busy = true;
    while (this.next !== null) {
      const now = this.next;
      this.next = null;
      try {
        const filled = await now.form(await smaller(now.image, SMALL));
        this.tell(await made(now.verb, filled));
      } catch {
        // a try that fails is followed by the real run, which tells why
      }
    }
    this.busy = false;
  }

  /** Forget what waits. */
  drop() {
    this.next = null;
  }
}
