// Where a network is computed: WebGPU first, WebAssembly second.

import { checkFlow } from "./check.js";

const RUNTIME = new URL("runtime/", import.meta.url);
const WEBGPU = ["ort.webgpu.bundle.min.mjs", "ort-wasm-simd-threaded.asyncify.wasm"];
const WASM = ["ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"];
const MOST_THREADS = 8;
// Not channels last, ONNX Runtime's default: its convolutions of 5 to 7 channels, as of two images
// together, are then wrong (https://github.com/microsoft/onnxruntime/issues/29651).
const GPU_OPTIONS = { name: "webgpu", preferredLayout: "NCHW" };

// Opens a model of `readModel`. `wanted`: "auto", "webgpu" or "wasm"; only "auto" goes on to the
// second one. Returns ONNX Runtime, its session, the device in words, and why it is not WebGPU, or "".
export async function openModel(model, wanted) {
  let fault = "";
  if (wanted !== "wasm") {
    const found = await openOnGpu(model, wanted);
    if (found.session) return found;
    fault = found.fault;
    if (wanted === "webgpu") throw new Error(`${fault}. Choose WebAssembly.`);
  }
  const threads = threadCount();
  const device = `WebAssembly, ${threads} thread${threads === 1 ? "" : "s"}`;
  try {
    return { ...(await open(WASM, { name: "wasm" }, model, threads)), device, fault };
  } catch (error) {
    throw new Error(`WebAssembly does not work here: ${inOneLine(error)}. Use another browser.`);
  }
}

async function openOnGpu(model, wanted) {
  try {
    const { adapter, fault } = await gpu(model.precision, wanted);
    if (fault) return { fault };
    const device = `WebGPU (${adapterName(adapter)})`;
    return { ...(await open(WEBGPU, GPU_OPTIONS, model, 1)), device, fault };
  } catch (error) {
    return { fault: `WebGPU does not work here: ${inOneLine(error)}` };
  }
}

async function open([script, wasm], provider, { content, check }, threads) {
  const ort = await import(new URL(script, RUNTIME));
  ort.env.logLevel = "error";
  ort.env.wasm.wasmPaths = { wasm: new URL(wasm, RUNTIME).href };
  ort.env.wasm.numThreads = threads;
  const session = await ort.InferenceSession.create(content, {
    executionProviders: [provider],
    logSeverityLevel: 3, // errors
  });
  await checkFlow(ort, session, check);
  return { ort, session };
}

// Returns the GPU's adapter, or why it is not used.
async function gpu(precision, wanted) {
  if (!navigator.gpu) {
    const insecure = isSecureContext ? "" : " on a page that is not served by https or localhost";
    return { fault: `this browser has no WebGPU${insecure}` };
  }
  const adapter = await navigator.gpu.requestAdapter();
  if (!adapter) return { fault: "WebGPU finds no GPU" };
  if (wanted === "auto" && adapter.info?.isFallbackAdapter) {
    return { fault: "WebGPU finds a simulated GPU only, which is slower" };
  }
  if (precision === "fp16" && !adapter.features.has("shader-f16")) {
    return { fault: "this GPU does not compute fp16 in WebGPU (an fp32 bundle works)" };
  }
  return { adapter, fault: "" };
}

function inOneLine(error) {
  return String(error?.message ?? error).replace(/\s+/g, " ").replace(/[. ]+$/, "");
}

function adapterName({ info }) {
  return info?.description || [info?.vendor, info?.architecture].filter(Boolean).join(" ") || "GPU";
}

// Half of the logical processors: two of them usually share a core's units.
function threadCount() {
  const logical = navigator.hardwareConcurrency || 1;
  if (!self.crossOriginIsolated) return 1;
  return Math.min(logical, MOST_THREADS, Math.max(2, Math.ceil(logical / 2)));
}
