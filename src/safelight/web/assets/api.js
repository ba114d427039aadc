// The server's API, as the page uses it: one job after another is begun, followed, fetched and forgotten.

const ROOT = "/api/v1";
const OVER = new Set(["done", "failed", "stopped"]);
const PATIENCE = 120; // seconds for which a busy server is asked again

/** A request that the server refused, in its own words. */
export class Problem extends Error {
  constructor(status, detail, retry = null) {
    super(detail);
    this.status = status;
    this.retry = retry;
  }
}

let signingIn = null;

/** Ask for the token, until it is the right one. */
function signIn() {
  signingIn ??= new Promise((resolve) => {
    const dialog = document.getElementById("sign-in");
    const field = document.getElementById("token");
    const wrong = document.getElementById("wrong");
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    dialog.querySelector("form").addEventListener("submit", async (event) => {
      event.preventDefault();
      const headers = { Authorization: `Bearer ${field.value}` };
      const answer = await fetch(`${ROOT}/session`, { method: "POST", headers });
      if (answer.ok) {
        field.value = "";
        signingIn = null;
        dialog.close();
        resolve();
      } else wrong.textContent = "That is not the token.";
    });
    dialog.showModal();
  });
  return signingIn;
}

async function ask(path, options = {}) {
  const url = path.startsWith(ROOT) ? path : `${ROOT}${path}`;
  let answer;
  try {
    answer = await fetch(url, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, "The server does not answer. Is it still running?");
  }
  if (answer.status === 401) {
    await signIn();
    return ask(path, options);
  }
  if (answer.ok) return answer;
  const retry = answer.headers.get("Retry-After");
  const body = await answer.json().catch(() => ({}));
  throw new Problem(answer.status, body.detail ?? `The server answered ${answer.status}.`, retry && Number(retry));
}

/** Fetch plain values. */
export async function get(path) {
  return (await ask(path)).json();
}

/** Fetch what a busy server tells later; null: it did not come in time. */
export async function later(path, wanted = () => true) {
  for (const until = Date.now() + PATIENCE * 1000; wanted() && Date.now() < until; ) {
    try {
      return await get(path);
    } catch (error) {
      if (!error.retry) throw error;
      await new Promise((resolve) => setTimeout(resolve, 1000 * error.retry));
    }
  }
  return null;
}

/** Send a form, and fetch plain values. */
export async function post(path, form) {
  return (await ask(path, { method: "POST", body: form })).json();
}

/** Send a picture, and wait for the picture that is made of it. */
export async function made(verb, form, signal) {
  return (await ask(`/${verb}`, { method: "POST", body: form, signal })).blob();
}

/** One picture's work on the server. */
export class Job {
  constructor(facts) {
    this.facts = facts;
    this.unwanted = false;
  }

  /** Begin one; a server that is busy is asked again when it says so. */
  static async begin(verb, form, wanted = () => true) {
    const until = Date.now() + PATIENCE * 1000;
    for (;;) {
      try {
        const answer = await ask(`/${verb}`, { method: "POST", body: form, headers: { Prefer: "respond-async" } });
        return new Job(await answer.json());
      } catch (error) {
        const again = error.retry !== null && error.retry !== undefined && Date.now() < until && wanted();
        if (!again) throw error;
        await new Promise((resolve) => setTimeout(resolve, 1000 * error.retry));
        if (!wanted()) throw error;
      }
    }
  }

  /** Tell of it whenever something is new, until it is over. */
  follow(tell) {
    return new Promise((resolve, reject) => {
      const events = new EventSource(this.facts.events);
      const take = (event) => {
        this.facts = JSON.parse(event.data);
        tell(this.facts);
        if (!OVER.has(this.facts.state)) return;
        events.close();
        resolve(this.facts);
      };
      for (const state of ["queued", "running", ...OVER]) events.addEventListener(state, take);
      events.onerror = async () => {
        if (events.readyState !== EventSource.CLOSED) return; // the browser connects again by itself
        events.close();
        reject(new Problem(0, "The server went away before the picture was done."));
      };
    });
  }

  /** Fetch the picture: the file, and what the server says of it. */
  async result() {
    const answer = await ask(`/jobs/${this.facts.id}/result`);
    const size = (answer.headers.get("Safelight-Size") ?? "0x0").split("x").map(Number);
    return {
      blob: await answer.blob(),
      method: answer.headers.get("Safelight-Method"),
      seconds: Number(answer.headers.get("Safelight-Seconds")),
      width: size[0],
      height: size[1],
      warnings: JSON.parse(answer.headers.get("Safelight-Warnings") ?? "[]"),
    };
  }

  /** Look at what an iteration has by now; null: nothing yet. */
  async preview() {
    try {
      return await (await ask(this.facts.preview)).blob();
    } catch {
      return null;
    }
  }

  /** End it; an iteration's best so far can be fetched. Of one that is over, let the server forget it. */
  async stop() {
    await ask(`/jobs/${this.facts.id}`, { method: "DELETE" }).catch(() => {});
  }
}
