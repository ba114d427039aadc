// The pictures at hand: how they come in, the list of them, and which one is looked at.

import { make } from "./dom.js";
import { dropped, load, pictures as onlyPictures } from "./files.js";

const $ = (id) => document.getElementById(id);

/** The pictures of the page; they stay while one changes between tabs. */
export class Album {
  /** @param say tells people something. @param changed is called when pictures come, go, or another is looked at. */
  constructor(say, changed) {
    this.say = say;
    this.changed = changed;
    this.all = [];
    this.current = null;
    const take = (input) => input.addEventListener("change", () => {
      this.add(input === $("folder") ? onlyPictures([...input.files]) : [...input.files]);
      input.value = "";
    });
    take($("files"));
    take($("folder"));
    $("pick").addEventListener("click", () => $("files").click());
    $("pick-folder").addEventListener("click", () => $("folder").click());
    $("camera").addEventListener("click", () => this.#photograph());
    const drop = $("drop");
    document.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
    document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) drop.classList.remove("over"); });
    document.addEventListener("drop", async (event) => {
      event.preventDefault();
      drop.classList.remove("over");
      if (event.dataTransfer) this.add(onlyPictures(await dropped(event.dataTransfer)));
    });
    document.addEventListener("paste", (event) => {
      const files = [...(event.clipboardData?.files ?? [])];
      if (files.length) this.add(onlyPictures(files));
    });
  }

  /** Take files in, each that is a picture. */
  async add(files) {
    if (!files.length) return this.say("There is no picture among these files.");
    this.say("");
    for (const file of files) {
      const picture = { file, name: file.name || "picture.png", results: new Map(), status: "" };
      try {
        picture.image = await load(file);
      } catch (error) {
        this.say(`${picture.name}: ${error.message}`);
        continue;
      }
      this.all.push(picture);
      this.current = picture;
    }
    return this.#show();
  }

  /** Say of a picture where it stands. */
  note(picture, text) {
    picture.status = text;
    if (picture.note) picture.note.textContent = text;
  }

  #show() {
    $("pictures").replaceChildren(...this.all.map((picture) => {
      const thumb = picture.image.cloneNode();
      thumb.alt = "";
      thumb.removeAttribute("style");
      picture.note = make("span", { class: "note" }, picture.status);
      return make("li", {},
        make("button", {
          type: "button", class: "thumb", "aria-current": String(picture === this.current),
          onclick: () => { this.current = picture; this.say(""); this.#show(); },
        }, thumb, make("span", { class: "name" }, picture.name), picture.note),
        make("button", {
          type: "button", class: "plain away", "aria-label": `Take ${picture.name} away`,
          onclick: () => this.#away(picture),
        }, "×"));
    }));
    this.changed();
  }

  #away(picture) {
    this.all = this.all.filter((each) => each !== picture);
    URL.revokeObjectURL(picture.image.src);
    for (const result of picture.results.values()) URL.revokeObjectURL(result.url);
    if (this.current === picture) this.current = this.all.at(-1) ?? null;
    this.#show();
  }

  async #photograph() {
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: 4096 } });
    } catch {
      return this.say("There is no camera that this page may use.");
    }
    const finder = $("finder"), dialog = $("photograph");
    finder.srcObject = stream;
    await finder.play();
    dialog.showModal();
    const end = (shot) => {
      if (shot) {
        const canvas = make("canvas", { width: finder.videoWidth, height: finder.videoHeight });
        canvas.getContext("2d").drawImage(finder, 0, 0);
        canvas.toBlob((blob) => this.add([new File([blob], "photograph.png", { type: blob.type })]), "image/png");
      }
      for (const track of stream.getTracks()) track.stop();
      dialog.close();
    };
    $("shoot").onclick = () => end(true);
    $("no-shot").onclick = dialog.oncancel = () => end(false);
    return undefined;
  }
}
