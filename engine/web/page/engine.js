// The engine of the page: a worker that opens the model and computes one pair after the other.

export class FlowEngine {
  #worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  #waiting = new Map();
  #last = 0;
  #stopped = null; // the error that ended the worker

  constructor() {
    this.#worker.onmessage = ({ data: { id, result, fault } }) => {
      const asked = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (fault === undefined) asked?.resolve(result);
      else asked?.reject(new Error(fault));
    };
    this.#worker.onerror = (event) => {
      event.preventDefault();
      const reason = event.message ?? "its script cannot be loaded";
      this.#stopped = new Error(`The worker stopped: ${reason}. Load the page again.`);
      for (const { reject } of this.#waiting.values()) reject(this.#stopped);
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
    if (this.#stopped) return Promise.reject(this.#stopped);
    return new Promise((resolve, reject) => {
      this.#waiting.set(++this.#last, { resolve, reject });
      this.#worker.postMessage({ id: this.#last, name, parameters });
    });
  }
}
