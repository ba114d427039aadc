// Tasks that are not one picture from one picture: what they take, a button, and whatever comes out.

import { Controls } from "./controls.js";
import { Job } from "./api.js";
import { make } from "./dom.js";

/** Whether the bench with its pictures serves a task. */
export const onBench = (task) => task.takes_picture && task.output === "image";

/** The panel of one task: a method, its controls, a file where the task works on one, and the result. */
export class Other {
  constructor(root, task) {
    this.task = task;
    this.kept = new Map();
    this.select = make("select", { id: "other-method", onchange: () => this.#options() },
      ...task.methods.map((method) => make("option", { value: method.name }, method.title)));
    this.select.value = task.default ?? task.methods[0]?.name;
    this.file = task.takes_file
      ? make("input", { type: "file", id: "other-file", accept: task.takes_picture ? "image/*" : "" }) : null;
    this.below = make("div", { class: "controls" });
    this.button = make("button", { type: "button", class: "primary", onclick: () => this.run() }, task.title);
    this.said = make("p", { class: "said", role: "status", "aria-live": "polite" });
    this.out = make("div", { class: "grid" });
    root.replaceChildren(
      make("div", { class: "panel" },
        make("p", { class: "facts" }, `${task.summary}.`),
        make("div", { class: "field" }, make("label", { for: "other-method" }, "Method"), this.select),
        ...(this.file ? [make("div", { class: "field" }, make("label", { for: "other-file" }, "File"), this.file)] : []),
        this.below, make("div", { class: "row" }, this.button), this.said),
      this.out,
    );
    this.#options();
  }

  #options() {
    const method = this.task.methods.find((each) => each.name === this.select.value);
    this.controls = new Controls(method.fields, method.name, this.kept);
    this.below.replaceChildren(...this.controls.parts);
    for (const more of this.below.querySelectorAll("details")) more.open = true; // what the task takes is among it
  }

  /** Do the task, and show what comes. */
  async run() {
    if (this.file && !this.file.files.length) return void (this.said.textContent = "Choose a file first.");
    const form = new FormData();
    form.append("method", this.select.value);
    this.controls.append(form);
    if (this.file) form.append("picture", this.file.files[0], "file");
    this.button.disabled = true;
    this.said.textContent = "Working …";
    try {
      const job = await Job.begin(this.task.task, form);
      const facts = await job.follow(() => {});
      if (facts.error) throw new Error(facts.error);
      const result = await job.result();
      await this.#show(result.blob);
      this.said.textContent = result.method;
    } catch (error) {
      this.said.textContent = error.message;
    } finally {
      this.button.disabled = false;
    }
    return undefined;
  }

  async #show(blob) {
    for (const image of this.out.querySelectorAll("img")) URL.revokeObjectURL(image.src);
    if (blob.type === "application/json") {
      const { name, value, unit } = JSON.parse(await blob.text());
      this.out.replaceChildren(make("p", { class: "facts" }, `${name}: ${value} ${unit}`));
      return;
    }
    const files = blob.type === "application/zip" ? await unzipped(blob) : [blob];
    this.out.replaceChildren(...files.map((file, i) => {
      const url = URL.createObjectURL(file);
      const name = `${this.task.task}-${i + 1}${file.type === "image/png" ? ".png" : this.task.suffix}`;
      const link = make("a", { class: "button", href: url, download: name }, `Download ${name}`);
      return make("figure", {}, ...(file.type.startsWith("image/") ? [make("img", { src: url, alt: name })] : []), link);
    }));
  }
}

/** Take the stored PNG files out of a ZIP archive of the server, which compresses nothing. */
async function unzipped(blob) {
  const bytes = new DataView(await blob.arrayBuffer());
  const files = [];
  for (let at = 0; at + 30 < bytes.byteLength && bytes.getUint32(at, true) === 0x04034b50;) {
    const size = bytes.getUint32(at + 18, true);
    const start = at + 30 + bytes.getUint16(at + 26, true) + bytes.getUint16(at + 28, true);
    files.push(new Blob([bytes.buffer.slice(start, start + size)], { type: "image/png" }));
    at = start + size;
  }
  return files;
}
