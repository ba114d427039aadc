// The controls of a method, made of what the server says can be said of it.

import { make } from "./dom.js";

// These are shown by the page in other ways, or where they belong to a result's file.
const FILES = new Set(["picture", "pictures"]);
const PLAIN = ["scale", "sigma", "strength", "size"]; // what is asked first
const MOST = 4; // options of a method's own that are seen at once
const WORDS = { sigma: "Noise (sigma)", keep_metadata: "Keep metadata", tv_weight: "Smoothness" };

const words = (name) => WORDS[name] ?? (name[0].toUpperCase() + name.slice(1)).replaceAll("_", " ");

/** Controls for the fields of one method. */
export class Controls {
  /** @param method the method's name. @param keep what was said before; what is the task's stays for each method. */
  constructor(fields, method, keep, changed = () => {}) {
    this.readers = new Map();
    this.own = method;
    this.keep = keep;
    this.changed = changed;
    const known = fields.filter((field) => !["mask", "style", "style_weights"].includes(field.name)); // they have editors
    const plain = PLAIN.map((name) => known.find((field) => field.name === name)).filter(Boolean);
    const scaled = plain.some((field) => field.name === "scale");
    const first = plain.filter((field) => field.name !== "size" || !scaled);
    const own = known.filter((field) => field.methods.length && !first.includes(field)).slice(0, MOST);
    const rest = known.filter((field) => !first.includes(field) && !own.includes(field));
    this.parts = [...first, ...own].map((field) => this.#control(field));
    if (rest.length) {
      this.parts.push(make("details", { class: "more" }, make("summary", {}, "More"),
        ...rest.map((field) => this.#control(field))));
    }
  }

  /** Append what is said to a form: values that are not the default's, and files. */
  append(form) {
    for (const [name, read] of this.readers) for (const value of read()) form.append(name, value);
  }

  #control(field) {
    const id = `field-${field.name}`;
    const key = field.methods.length ? `${this.own} ${field.name}` : field.name;
    const before = this.keep.get(key);
    const note = make("small", { id: `${id}-help` }, field.help.replace(/^\w+: /, ""));
    const facts = { id, name: field.name, "aria-describedby": `${id}-help` };
    const said = (value) => {
      if (value === "" || value === null) this.keep.delete(key);
      else this.keep.set(key, value);
      this.changed();
    };
    const label = make("label", { for: id }, words(field.name));
    if (FILES.has(field.kind)) {
      const input = make("input", { ...facts, type: "file", accept: "image/*", multiple: field.kind === "pictures" });
      this.readers.set(field.name, () => [...input.files]);
      return make("div", { class: "field" }, label, input, note);
    }
    if (field.kind === "flag") {
      const on = before ?? (field.name === "keep_metadata" || field.default === true);
      const input = make("input", { ...facts, type: "checkbox", checked: on, onchange: () => said(input.checked) });
      this.readers.set(field.name, () => (input.checked === (field.default === true) ? [] : [String(input.checked)]));
      return make("div", { class: "field flag" }, make("label", {}, input, ` ${words(field.name)}`), note);
    }
    if (field.choices.length) {
      const auto = field.default === null;
      const options = field.choices.map((choice) => make("option", { value: choice }, choice));
      if (auto) options.unshift(make("option", { value: "" }, field.name === "format" ? "as it came" : "auto"));
      const input = make("select", { ...facts, onchange: () => said(input.value) }, ...options);
      input.value = field.choices.includes(before) ? before : (field.default ?? "");
      this.readers.set(field.name, () => (input.value === (field.default ?? "") ? [] : [input.value]));
      return make("div", { class: "field" }, label, input, note);
    }
    if (field.name === "scale") return this.#scale(field, facts, label, note, before, said);
    const number = field.kind !== "text";
    if (number && field.low !== null && field.high !== null && field.default !== null && field.high - field.low <= 100) {
      const whole = field.kind === "integer";
      const step = whole ? 1 : field.high - field.low > 10 ? 0.1 : 0.01;
      const shown = make("output", { for: id });
      const tell = () => { shown.textContent = input.value; };
      const input = make("input", {
        ...facts, type: "range", min: String(field.low), max: String(field.high), step: String(step),
        oninput: tell, onchange: () => said(input.value),
      });
      input.value = String(before ?? field.default);
      tell();
      this.readers.set(field.name, () => (Number(input.value) === Number(field.default) ? [] : [input.value]));
      return make("div", { class: "field" }, make("span", { class: "pair" }, label, shown), input, note);
    }
    const input = make("input", {
      ...facts, type: number ? "number" : "text", placeholder: field.default === null ? "auto" : String(field.default),
      min: field.low ?? undefined, max: field.high ?? undefined, step: field.kind === "integer" ? "1" : "any",
      oninput: () => said(input.value.trim()),
    });
    input.value = before === undefined ? "" : String(before);
    this.readers.set(field.name, () => (input.value.trim() === "" ? [] : [input.value.trim()]));
    return make("div", { class: "field" }, label, input, note);
  }

  #scale(field, facts, label, note, before, said) {
    const input = make("input", {
      ...facts, type: "number", min: String(field.low), max: String(field.high), step: "any", placeholder: "4",
      oninput: () => { said(input.value.trim()); mark(); },
    });
    input.value = before === undefined ? "" : String(before);
    const chips = ["2", "3", "4"].map((value) =>
      make("button", { type: "button", onclick: () => { input.value = value; said(value); mark(); } }, `${value}×`));
    const mark = () => chips.forEach((chip, n) =>
      chip.setAttribute("aria-pressed", String((input.value.trim() || "4") === String(n + 2))));
    mark();
    // A size that is said takes the scale's place.
    this.readers.set(field.name, () => (input.value.trim() === "" || this.keep.get("size") ? [] : [input.value.trim()]));
    return make("div", { class: "field" }, label, make("div", { class: "row chips" }, ...chips, input), note);
  }
}
