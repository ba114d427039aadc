// Two to four methods on one picture, side by side, zooming together.

import { Job, get, post } from "./api.js";
import { duration, make } from "./dom.js";
import { load } from "./files.js";
import { View, Viewer } from "./viewer.js";

const MOST = 4;

/** The tab that compares. */
export class Compare {
  constructor(root, tasks, current) {
    this.current = current;
    this.tasks = tasks.filter((task) => task.methods.length > 1 && !task.required.length);
    this.chosen = new Set();
    this.jobs = [];
    this.task = make("select", { id: "compare-task", onchange: () => this.#list() },
      ...this.tasks.map((task) => make("option", { value: task.task }, task.title)));
    this.methods = make("div", { class: "chips row", role: "group", "aria-label": "Methods" });
    this.original = make("input", { type: "file", accept: "image/*", id: "compare-original" });
    this.run = make("button", { type: "button", class: "primary", onclick: () => this.#run() }, "Compare");
    this.stop = make("button", { type: "button", hidden: true, onclick: () => this.#stop() }, "Stop");
    this.said = make("p", { class: "said", role: "status", "aria-live": "polite" });
    this.grid = make("div", { class: "grid" });
    root.append(
      make("div", { class: "panel" },
        make("div", { class: "field" }, make("label", { for: "compare-task" }, "Task"), this.task),
        make("div", { class: "field" }, make("p", { class: "label" }, "Two to four methods"), this.methods),
        make("div", { class: "field" }, make("label", { for: "compare-original" }, "Original, to measure against"),
          this.original, make("small", {}, "Of the size of the results; without one there is no score.")),
        make("div", { class: "row" }, this.run, this.stop), this.said),
      this.grid,
    );
    this.task.value = this.tasks[0].task;
    this.#list();
  }

  #list() {
    const task = this.tasks.find((each) => each.task === this.task.value);
    const other = task.methods.find((method) => method.learned && method.name !== task.default) ?? task.methods[0];
    this.chosen = new Set([task.default, other.name]);
    this.methods.replaceChildren(...task.methods.map((method) => make("button", {
      type: "button", "aria-pressed": String(this.chosen.has(method.name)), title: method.summary,
      onclick: (event) => {
        const on = !this.chosen.has(method.name);
        if (on && this.chosen.size >= MOST) return this.#say(`At most ${MOST} methods; take one away first.`);
        if (on) this.chosen.add(method.name);
        else this.chosen.delete(method.name);
        event.currentTarget.setAttribute("aria-pressed", String(on));
        return this.#say("");
      },
    }, method.title)));
  }

  #say(text) {
    this.said.textContent = text;
  }

  async #stop() {
    this.wanted = false;
    await Promise.all(this.jobs.map((job) => job.stop()));
  }

  async #run() {
    const picture = this.current();
    if (!picture) return this.#say("Drop a picture first, in any of the other tabs.");
    if (this.chosen.size < 2) return this.#say("Choose two methods at least.");
    const task = this.tasks.find((each) => each.task === this.task.value);
    this.wanted = true;
    this.jobs = [];
    this.run.disabled = true;
    this.stop.hidden = false;
    this.#say("");
    const view = new View();
    const panes = task.methods.filter((method) => this.chosen.has(method.name)).map((method) => {
      const viewer = new Viewer(view);
      viewer.show(picture.image.cloneNode());
      const facts = make("p", { class: "facts" }, "waits");
      return { method, viewer, facts, root: make("figure", {}, make("figcaption", {}, method.title), viewer.root, facts) };
    });
    this.grid.replaceChildren(...panes.map((pane) => pane.root));
    for (const pane of panes) { // one after another: their times are to be compared too
      if (!this.wanted) break;
      try {
        await this.#one(task.task, pane, picture);
      } catch (error) {
        pane.facts.textContent = error.message;
      }
    }
    this.run.disabled = false;
    this.stop.hidden = true;
    return undefined;
  }

  async #one(verb, pane, picture) {
    const form = new FormData();
    form.append("method", pane.method.name);
    form.append("format", "png");
    form.append("picture", picture.file, "picture");
    const job = await Job.begin(verb, form, () => this.wanted);
    this.jobs.push(job);
    const facts = await job.follow((now) => {
      const left = now.seconds_left === null ? "" : `, ${duration(now.seconds_left)} left`;
      pane.facts.textContent = `${Math.round(now.progress * 100)} %${left}`;
    });
    if (facts.result === null) {
      pane.facts.textContent = facts.error ?? "stopped";
      return;
    }
    const result = await job.result();
    await job.stop();
    pane.viewer.show(picture.image.cloneNode(), await load(result.blob));
    const said = [duration(result.seconds), `${result.width} × ${result.height}`];
    const [original] = this.original.files;
    if (original) said.unshift(await this.#score(original, result.blob));
    pane.facts.textContent = said.join(" · ");
  }

  async #score(original, blob) {
    const form = new FormData();
    form.append("reference", original, "reference");
    form.append("picture", blob, "picture");
    const { scores } = await post("/score", form);
    return scores.map((score) => `${score.title} ${score.value === null ? "∞" : score.value.toFixed(score.unit ? 2 : 4)}${score.unit && ` ${score.unit}`}`).join(", ");
  }
}

/** The quality of a method as it was measured, in words: of the one figure that stands for a task, or of any. */
export async function measured(task, name) {
  const facts = await get(`/methods/${task}/${name}`);
  const standing = facts.psnr[task];
  const scores = facts.weights.flatMap((weights) => Object.entries(weights.header?.scores ?? {}))
    .filter(([title]) => !title.startsWith("validation"));
  const found = scores.find(([, value]) => value === standing) ?? scores[0];
  return found ? `${found[1].toFixed(2)} dB (${found[0]})` : null;
}
