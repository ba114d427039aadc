// The page: tabs by what people want to do, pictures that stay while one changes between them, and one bench for all.

import { About } from "./about.js";
import { Album } from "./album.js";
import { Job, get, later } from "./api.js";
import { Compare, measured } from "./compare.js";
import { Controls } from "./controls.js";
import { duration, make } from "./dom.js";
import { convertBy, load, nameOf, save, zip } from "./files.js";
import { MaskEditor } from "./mask.js";
import { Other, onBench } from "./other.js";
import { Live, Looks, Mixer } from "./styles.js";
import { Viewer } from "./viewer.js";

const AT_ONCE = 2; // pictures of several that are sent at a time
const LOOK = 700; // ms between two looks at a picture that forms
const $ = (id) => document.getElementById(id);

/** What the page is about: the pictures, what is said of each task, and what is under way. */
class Page {
  constructor(tasks) {
    this.all = tasks.toSorted((a, b) => Math.min(1, a.methods.length) - Math.min(1, b.methods.length)); // what chooses by itself first
    this.tasks = this.all.filter(onBench);
    this.first = this.all.find((task) => task.methods.length).task; // the tab that opens
    convertBy(this.tasks);
    this.said = new Map(tasks.map((task) => [task.task, new Map()]));
    this.method = new Map(tasks.map((task) => [task.task, task.default]));
    this.wanted = this.running = this.anew = false;
    this.trial = null; // the last picture on its way that was seen
    this.jobs = new Set();
    this.viewer = new Viewer();
    this.live = new Live(async (blob) => { if (!this.running) this.#preview(await load(blob)); });
    this.album = new Album((text) => this.say(text), () => this.#changed());
    this.mixer = new Mixer(() => this.#try(), () => this.#settle());
    this.masks = new WeakMap(); // editors by picture
    this.#tabs();
    $("run").addEventListener("click", () => this.run());
    $("controls").addEventListener("submit", (event) => { event.preventDefault(); this.run(); });
    $("stop").addEventListener("click", () => this.stop());
    $("zip").addEventListener("click", () => this.#zip());
    $("again").addEventListener("click", () => this.#again());
  }

  // --- tabs ---

  #tabs() {
    const names = [...this.all.map((task) => [task.task, task.title]), ["compare", "Compare"], ["methods", "Methods"]];
    this.tabs = names.map(([name, title]) => make("button", {
      type: "button", role: "tab", id: `tab-${name}`, "aria-selected": "false", tabIndex: -1,
      onclick: () => this.open(name),
      onkeydown: (event) => {
        const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (by === undefined) return;
        const next = (names.findIndex(([each]) => each === name) + by + names.length) % names.length;
        this.open(names[next][0]);
        this.tabs[next].focus();
      },
    }, title));
    $("tabs").append(...this.tabs);
    window.addEventListener("hashchange", () => this.open(location.hash.slice(1)));
  }

  /** Open a tab by its name. */
  open(name) {
    const task = this.tasks.find((each) => each.task === name);
    const other = task ? undefined : this.all.find((each) => each.task === name);
    const known = task ?? other ?? (name === "compare" || name === "methods");
    if (!known) return this.open(this.first);
    for (const tab of this.tabs) {
      const here = tab.id === `tab-${name}`;
      tab.setAttribute("aria-selected", String(here));
      tab.tabIndex = here ? 0 : -1;
      if (here) tab.scrollIntoView({ block: "nearest", inline: "nearest" });
    }
    $("bench").hidden = task === undefined;
    $("other").hidden = other === undefined;
    $("compare").hidden = name !== "compare";
    $("methods").hidden = name !== "methods";
    history.replaceState(null, "", `#${name}`);
    document.title = `${document.getElementById(`tab-${name}`).textContent} · Safelight`;
    this.say("");
    if (task !== undefined) {
      this.task = task;
      this.#controls();
      this.#show();
    }
    if (other !== undefined) this.other = new Other($("other"), other);
    if (name === "compare") this.compare ??= new Compare($("compare"), this.tasks, () => this.album.current);
    if (name === "methods") {
      this.about ??= new About($("methods"), this.all);
      const [verb, method] = this.asked ?? [this.first, this.method.get(this.first)];
      this.asked = null;
      this.about.show(verb, method);
    }
    return undefined;
  }

  #changed() {
    if (!this.task) return;
    this.#ready();
    this.#show();
    this.#looks();
  }

  /** Take the result as a picture, for another thing to be done to it. */
  #again() {
    const done = this.album.current?.results.get(this.task.task);
    if (done) this.album.add([new File([done.blob], nameOf(this.album.current.name, this.task.task, done.blob), { type: done.blob.type })]);
  }

  // --- what is said of the work ---

  /** Offer the task's methods, and then the controls of the chosen one. */
  #controls() {
    const { task, methods } = this.task;
    this.below = make("div", { class: "controls" });
    const group = (title, some) => some.length ? make("optgroup", { label: title }, ...some.map((method) =>
      make("option", { value: method.name }, method.name === this.task.default ? `${method.title} (default)` : method.title))) : null;
    const select = make("select", { id: "method", onchange: () => {
      this.method.set(task, select.value);
      this.#options();
      this.#show();
    } },
    group("Networks", methods.filter((method) => method.learned)),
    group("Formulas and iterations", methods.filter((method) => !method.learned)));
    const picker = methods.length
      ? make("div", { class: "field" }, make("label", { for: "method" }, "Method"), select)
      : make("p", { class: "facts" }, `${this.task.summary}.`);
    if (methods.length) select.value = this.#method().name;
    $("controls").replaceChildren(picker, this.below);
    this.#options();
  }

  #options() {
    const { task } = this.task;
    const parts = [];
    const chosen = this.task.methods.length ? this.#method() : null;
    const fields = chosen?.fields ?? this.task.fields;
    if (chosen !== null) {
      const facts = make("p", { class: "facts", id: "facts" });
      const more = make("button", { type: "button", class: "plain link", onclick: () => {
        this.asked = [task, chosen.name];
        this.open("methods");
      } }, "About this method");
      parts.push(make("div", { class: "field" }, make("small", {}, chosen.summary), facts, more));
      this.#tell(task, chosen, facts);
    }
    this.looks = null;
    if (fields.some((field) => field.name === "style")) parts.push(this.mixer.root);
    const look = fields.find((field) => field.name === "look");
    if (look) {
      this.looks = new Looks(task, look, chosen.name, (name) => {
        this.said.get(task).set(`${chosen.name} look`, name);
        this.#options();
        this.run();
      });
      this.looks.mark(this.said.get(task).get(`${chosen.name} look`));
      parts.push(this.looks.root);
    }
    this.controls = new Controls(fields, chosen?.name, this.said.get(task), () => this.#ready());
    this.below.replaceChildren(...parts, ...this.controls.parts);
    this.#looks();
    this.#ready();
  }

  #method() {
    return this.task.methods.find((method) => method.name === this.method.get(this.task.task));
  }

  async #looks() {
    if (this.looks && this.album.current) await this.looks.show(this.album.current.image).catch((error) => this.say(error.message));
  }

  async #tell(task, method, place) {
    const said = [];
    const tell = (part) => { if (part) { said.push(part); place.textContent = said.join(" · "); } };
    await measured(task, method.name).then(tell, () => {});
    if (!place.isConnected) return;
    await later(`/methods/${task}/${method.name}/time`, () => place.isConnected)
      .then((found) => found && tell(`${duration(found.seconds_per_megapixel)} a megapixel here`), () => {});
  }

  get #takesMask() {
    return this.task.required.includes("mask");
  }

  #ready() {
    const task = this.task;
    if (!task) return;
    const several = this.album.all.length > 1 && !this.#takesMask;
    $("run").textContent = several ? `${task.title} all ${this.album.all.length}` : task.title;
    $("run").disabled = !this.album.current || this.running;
  }

  // --- what is seen ---

  #show() {
    const stage = $("stage");
    const picture = this.album.current;
    $("downloads").hidden = true;
    if (!picture) {
      stage.replaceChildren(make("p", { class: "empty" }, "The picture will be here."));
      return;
    }
    const done = picture.results.get(this.task.task);
    if (this.#takesMask && !done) {
      if (!this.masks.has(picture)) this.masks.set(picture, new MaskEditor(picture.image.cloneNode()));
      stage.replaceChildren(this.masks.get(picture).root);
    } else {
      this.viewer.show(picture.image, done?.image ?? null);
      stage.replaceChildren(...(this.#takesMask ? [this.viewer.root, make("button", {
        type: "button", onclick: () => { picture.results.delete(this.task.task); this.#show(); },
      }, "Back to the mask")] : [this.viewer.root]));
    }
    if (!done) return;
    $("downloads").hidden = false;
    const link = $("download");
    link.href = done.url;
    link.download = nameOf(picture.name, this.task.task, done.blob);
    link.textContent = `Download ${link.download}`;
    $("again").hidden = false;
    $("zip").hidden = this.album.all.filter((each) => each.results.has(this.task.task)).length < 2;
    this.say([`${done.method}, ${duration(done.seconds)}`, ...done.warnings].join(". "));
  }

  #preview(image) {
    if (!this.album.current) return;
    if (this.trial) URL.revokeObjectURL(this.trial.src); // of the one before
    this.trial = image;
    this.viewer.show(this.album.current.image, image);
    if (!this.viewer.root.isConnected) $("stage").replaceChildren(this.viewer.root);
  }

  /** Say something below the picture. */
  say(text) {
    $("said").textContent = text;
  }

  // --- work ---

  async #form(picture, file) {
    const form = new FormData();
    const task = this.task;
    const method = task.methods.length ? this.#method() : null;
    if (method) form.append("method", method.name);
    this.controls.append(form);
    form.append("picture", file, "picture");
    if (this.#takesMask) form.append("mask", await this.masks.get(picture).file(), "mask.png");
    if (method?.fields.some((field) => field.name === "style")) await this.mixer.append(form);
    return form;
  }

  /** What stands in the way of the work, in words; null: nothing. */
  #obstacle() {
    if (!this.album.current) return "Drop a picture first.";
    if (this.#takesMask && (this.masks.get(this.album.current)?.empty ?? true)) return "Paint over what is to be filled first.";
    const takesStyle = this.#method()?.fields.some((field) => field.name === "style");
    if (takesStyle && this.mixer.empty) return "Choose a style first.";
    return null;
  }

  /** Do what the tab is for, to all pictures; with a mask, to the one that it belongs to. */
  async run() {
    if (this.running) return;
    const obstacle = this.#obstacle();
    if (obstacle !== null) return void this.say(obstacle);
    this.live.drop();
    this.running = this.wanted = true;
    $("stop").hidden = false;
    this.say("");
    this.#ready();
    const task = this.task;
    const all = this.#takesMask ? [this.album.current] : [...this.album.all];
    const line = all.map((picture) => [picture, this.#form(picture, picture.file)]);
    for (const picture of all) this.album.note(picture, "waits");
    $("progress").hidden = false;
    this.#progress(null, all.length);
    const worker = async () => {
      while (line.length && this.wanted) {
        const [picture, form] = line.shift();
        try {
          await this.#one(task.task, picture, await form, all.length);
        } catch (error) {
          this.album.note(picture, error.message);
          if (all.length === 1) this.say(error.message);
        }
      }
    };
    await Promise.all(Array.from({ length: Math.min(AT_ONCE, all.length) }, worker));
    for (const [picture] of line) this.album.note(picture, "stopped");
    this.running = false;
    $("progress").hidden = true;
    $("stop").hidden = true;
    this.#ready();
    if (this.task === task && this.album.current?.results.has(task.task)) this.#show();
    if (this.anew) {
      this.anew = false;
      await this.run();
    }
  }

  async #one(verb, picture, form, count) {
    const job = await Job.begin(verb, form, () => this.wanted);
    this.jobs.add(job);
    if (!this.wanted) await job.stop();
    const watch = job.facts.preview === null ? null : this.#watch(job, picture);
    const facts = await job.follow((now) => {
      this.album.note(picture, now.state === "running" ? `${Math.round(now.progress * 100)} %` : now.state);
      if (picture === this.album.current || count === 1) this.#progress(now, count);
    }).finally(() => { this.jobs.delete(job); watch?.(); });
    if (facts.result === null) {
      const why = facts.error ?? "stopped";
      this.album.note(picture, why);
      if (count === 1) this.say(why[0].toUpperCase() + why.slice(1));
      return;
    }
    const result = await job.result();
    await job.stop(); // the server need not keep it
    const last = picture.results.get(verb);
    if (last) URL.revokeObjectURL(last.url);
    picture.results.set(verb, { ...result, image: await load(result.blob), url: URL.createObjectURL(result.blob) });
    this.album.note(picture, facts.state === "stopped" ? "stopped: the best so far" : duration(result.seconds));
    if (this.task.task === verb && this.album.current === picture) this.#show();
  }

  /** Look at a picture as it forms; returns what ends that. */
  #watch(job, picture) {
    let on = true;
    const look = async () => {
      while (on) {
        await new Promise((resolve) => setTimeout(resolve, LOOK));
        const seen = () => on && this.album.current === picture && this.task.task === job.facts.verb;
        if (job.facts.state !== "running" || !seen()) continue;
        const blob = await job.preview();
        const image = blob && await load(blob);
        if (image && seen()) this.#preview(image);
      }
    };
    look();
    return () => { on = false; };
  }

  #progress(facts, count) {
    const done = this.album.all.filter((picture) => picture.results.has(this.task.task)).length;
    if (facts?.state === "running" && facts.progress > 0) $("bar").value = facts.progress;
    else $("bar").removeAttribute("value");
    const parts = [];
    if (count > 1) parts.push(`${Math.min(done, count)} of ${count} pictures`);
    if (facts?.state === "queued") parts.push("waits for its turn");
    if (facts?.seconds_left !== null && facts?.seconds_left !== undefined) parts.push(`${duration(facts.seconds_left)} left`);
    if (facts?.remark) parts.push(facts.remark);
    $("left").textContent = parts.join(" · ");
  }

  /** End what is under way; iterations keep their best so far. */
  async stop() {
    this.wanted = false;
    await Promise.all([...this.jobs].map((job) => job.stop()));
  }

  async #zip() {
    const verb = this.task.task;
    const files = this.album.all.filter((picture) => picture.results.has(verb)).map((picture) => {
      const { blob } = picture.results.get(verb);
      return { name: nameOf(picture.name, verb, blob), blob };
    });
    save(await zip(files), `safelight-${verb}.zip`);
  }

  // --- styles ---

  #try() {
    if (!this.album.current || this.mixer.empty || this.running || this.#method()?.iterates) return;
    const picture = this.album.current;
    this.live.want(picture.image, this.task.task, (small) => this.#form(picture, small));
  }

  #settle() {
    this.live.drop();
    if (!this.album.current || this.mixer.empty || this.#method()?.iterates) return;
    if (this.running) {
      this.anew = true; // what runs is of the styles before
      this.stop();
    } else this.run();
  }
}

function theme() {
  const button = $("theme"), order = ["auto", "dark", "light"];
  const set = (name) => {
    if (name === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = name;
    localStorage.setItem("theme", name);
    button.textContent = { auto: "◐ Auto", dark: "● Dark", light: "○ Light" }[name];
    button.setAttribute("aria-label", `Theme: ${name}`);
  };
  set(order.includes(localStorage.getItem("theme")) ? localStorage.getItem("theme") : "auto");
  button.addEventListener("click", () => set(order[(order.indexOf(localStorage.getItem("theme")) + 1) % order.length]));
}

theme();
try {
  const page = new Page(await get("/tasks"));
  page.open(location.hash.slice(1) || page.first);
} catch (error) {
  $("bench").hidden = false;
  $("said").textContent = error.message;
}
