// About the methods: card, paper, measured beside published, quality against work, and what the weights were trained on.

import { get, later } from "./api.js";
import { draw, duration, make } from "./dom.js";

/** The tab that tells of methods. */
export class About {
  constructor(root, tasks) {
    this.tasks = tasks.filter((task) => task.methods.length);
    this.all = get("/methods");
    this.list = make("nav", { class: "list", "aria-label": "Methods" });
    this.page = make("article", { class: "card" });
    for (const task of this.tasks) {
      this.list.append(make("h2", {}, task.title), make("ul", {}, ...task.methods.map((method) =>
        make("li", {}, make("button", {
          type: "button", class: "plain", "data-method": `${task.task}/${method.name}`,
          onclick: () => this.show(task.task, method.name),
        }, method.title)))));
    }
    root.append(this.list, this.page);
  }

  /** Tell of one. */
  async show(task, name) {
    for (const button of this.list.querySelectorAll("button"))
      button.setAttribute("aria-current", String(button.dataset.method === `${task}/${name}`));
    const facts = await get(`/methods/${task}/${name}`);
    const rows = [["It is", facts.kind], ["Tasks", facts.tasks.join(", ")]];
    if (facts.cost) {
      rows.push(["Parameters", facts.cost.parameters.toLocaleString("en")],
        ["Multiply-adds for a pixel of the result", Math.round(facts.cost.multiply_adds).toLocaleString("en")]);
    }
    if (facts.scales?.length) rows.push(["Scales", facts.scales.map((scale) => `×${scale}`).join(" ")]);
    const pace = make("dd", {}, "…");
    const paper = facts.paper && make("p", {}, `${facts.paper.authors}: `,
      make("a", { href: facts.paper.link, rel: "noreferrer noopener", target: "_blank" }, facts.paper.title),
      `, ${facts.paper.venue}.`);
    this.page.replaceChildren(...[
      make("h2", { tabIndex: -1 }, facts.title), make("p", {}, facts.summary), paper,
      make("dl", {}, ...rows.flatMap(([title, value]) => [make("dt", {}, title), make("dd", {}, value)]),
        make("dt", {}, "Time on this machine"), pace),
      this.#scores(facts), await this.#plot(task, facts), this.#trained(facts), this.#options(facts),
    ].filter(Boolean));
    this.page.firstElementChild.focus({ preventScroll: true });
    later(`/methods/${task}/${name}/time`, () => pace.isConnected).then(
      (found) => { if (found) pace.textContent = `${duration(found.seconds_per_megapixel)} a megapixel (told by a picture of ${found.picture})`; },
      (error) => { pace.textContent = error.message; },
    );
  }

  #scores(facts) {
    const rows = facts.weights.flatMap((weights) => Object.entries(weights.header?.scores ?? {})
      .filter(([title]) => !title.startsWith("validation"))
      .map(([title, value]) => [weights.file.replace(".safetensors", ""), title, value]));
    const published = facts.published.map((row) => [
      row.data, row.level, row.psnr, Object.values(row.options).join(" "), row.task,
    ]);
    const parts = [];
    if (rows.length) {
      parts.push(make("h3", {}, "Measured"), table(["weights", "on", "dB"], rows.map(([file, title, value]) =>
        [file, title, value.toFixed(2)])));
    }
    if (published.length) {
      parts.push(make("h3", {}, "In the paper"), table(["task", "data", "level", "variant", "dB"],
        published.map(([data, level, psnr, variant, task]) => [task, data, String(level), variant, psnr?.toFixed(2) ?? "-"])));
    }
    return parts.length ? make("div", {}, ...parts) : null;
  }

  #trained(facts) {
    const sources = new Set(facts.weights.flatMap((weights) => weights.header?.trained_on ?? []));
    if (!sources.size) return null;
    const seconds = facts.weights.reduce((sum, weights) => sum + (weights.header?.seconds ?? 0), 0);
    return make("div", {}, make("h3", {}, "Trained on"), make("ul", {}, ...[...sources].map((text) => make("li", {}, text))),
      make("p", {}, `${duration(seconds)} in all, by this project. ${facts.weights[0].header.licence}.`));
  }

  #options(facts) {
    if (!facts.options.length) return null;
    return make("div", {}, make("h3", {}, "Options"), table(["option", "default", "what"], facts.options.map((option) =>
      [option.name, String(option.default ?? "auto"), option.help])));
  }

  /** Quality against work, of all networks for a task whose figure is the same. */
  async #plot(task, facts) {
    const points = (await this.all).filter((card) => card.psnr[task] && card.cost)
      .map((card) => ({ title: card.title, x: Math.log10(card.cost.multiply_adds), y: card.psnr[task], here: card.id === facts.id }));
    if (points.length < 2 || !points.some((point) => point.here)) return null;
    const wide = 520, high = 260, [left, right, top, bottom] = [52, 16, 18, 40];
    const range = (values, pad) => [Math.min(...values) - pad, Math.max(...values) + pad];
    const [x0, x1] = range(points.map((point) => point.x), 0.35), [y0, y1] = range(points.map((point) => point.y), 0.15);
    const x = (value) => left + ((value - x0) / (x1 - x0)) * (wide - left - right);
    const y = (value) => high - bottom - ((value - y0) / (y1 - y0)) * (high - top - bottom);
    const text = (at, words, anchor = "middle") => draw("text", { x: at[0], y: at[1], "text-anchor": anchor }, words);
    const picture = draw("svg", { viewBox: `0 0 ${wide} ${high}`, role: "img", class: "plot",
      "aria-label": `Quality against work: ${points.map((point) => `${point.title} ${point.y.toFixed(2)} dB`).join(", ")}` });
    picture.append(draw("path", { d: `M${left} ${top}V${high - bottom}H${wide - right}`, class: "axis" }));
    for (let power = Math.ceil(x0); power <= x1; power++)
      picture.append(text([x(power), high - bottom + 16], (10 ** power).toLocaleString("en")));
    const step = y1 - y0 > 2 ? 0.5 : 0.2;
    for (let value = Math.ceil(y0 / step) * step; value <= y1; value += step)
      picture.append(text([left - 6, y(value) + 4], value.toFixed(1), "end"));
    picture.append(text([(left + wide - right) / 2, high - 6], "multiply-adds for a pixel of the result"), text([left, 12], "dB", "end"));
    for (const point of points) {
      picture.append(draw("circle", { cx: x(point.x), cy: y(point.y), r: point.here ? 6 : 4, class: point.here ? "here" : "" }));
      const crowded = points.some((other) => other !== point && Math.abs(x(other.x) - x(point.x)) < 60
        && y(point.y) - y(other.y) >= 0 && y(point.y) - y(other.y) < 26);
      picture.append(text([x(point.x), y(point.y) + (crowded ? 18 : -9)], point.title));
    }
    return make("div", {}, make("h3", {}, "Quality against work"), picture);
  }
}

function table(heads, rows) {
  return make("div", { class: "scroll" }, make("table", {},
    make("thead", {}, make("tr", {}, ...heads.map((head) => make("th", { scope: "col" }, head)))),
    make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((cell) => make("td", {}, cell)))))));
}
