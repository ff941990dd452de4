// The engine of the page: a worker that opens the model and computes one pair after the other.

export class FlowEngine {
  #worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  #waiting = new Map();
  #last = 0;

  constructor() {
    this.#worker.onmessage = ({ data: { id, result, fault } }) => {
      const { resolve, reject } = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (fault === undefined) resolve(result);
      else reject(new Error(fault));
    };
    this.#worker.onerror = (event) => {
      event.preventDefault();
      const error = new Error(`The worker stopped: ${event.message}. Load the page again.`);
      for (const { reject } of this.#waiting.values()) reject(error);
      this.#waiting.clear();
    };
  }

  // Opens the model on "auto", "webgpu" or "wasm"; returns what runs where.
  open(wanted) {
    return this.#ask("open", { wanted });
  }

  // Returns the flow from one ImageData to another of the same size; null if closed meanwhile.
  infer(first, second) {
    return this.#ask("infer", { first, second });
  }

  close() {
    this.#worker.terminate();
    for (const { resolve } of this.#waiting.values()) resolve(null);
    this.#waiting.clear();
  }

  #ask(name, parameters) {
    return new Promise((resolve, reject) => {
      this.#waiting.set(++this.#last, { resolve, reject });
      this.#worker.postMessage({ id: this.#last, name, parameters });
    });
  }
}
