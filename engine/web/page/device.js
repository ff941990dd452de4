// Where a network is computed: WebGPU first, WebAssembly second.

const RUNTIME = new URL("runtime/", import.meta.url);
const WEBGPU = ["ort.webgpu.bundle.min.mjs", "ort-wasm-simd-threaded.asyncify.wasm"];
const WASM = ["ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"];
const MOST_THREADS = 8;
// Not channels last, ONNX Runtime's default: its convolutions of 5 to 7 channels, as of two images
// together, are then wrong (https://github.com/microsoft/onnxruntime/issues/29651).
const GPU_OPTIONS = { name: "webgpu", preferredLayout: "NCHW" };

// Opens a model. `wanted`: "auto", "webgpu" or "wasm"; only "auto" goes on to the second one.
// Returns ONNX Runtime, its session, the device in words, and why it is not WebGPU, or "".
export async function openModel(model, precision, wanted) {
  let fault = wanted === "wasm" ? "" : null;
  if (fault === null) {
    const [adapter, reason] = await gpu(precision, wanted);
    fault = reason;
    if (!fault) {
      try {
        const device = `WebGPU (${adapterName(adapter)})`;
        return { ...(await open(WEBGPU, GPU_OPTIONS, model, 1)), device, fault };
      } catch (error) {
        fault = `WebGPU: ${error.message}`;
      }
    }
    if (wanted === "webgpu") throw new Error(`${fault}. Choose WebAssembly.`);
  }
  const threads = threadCount();
  const device = `WebAssembly, ${threads} thread${threads === 1 ? "" : "s"}`;
  return { ...(await open(WASM, { name: "wasm" }, model, threads)), device, fault };
}

async function open([script, wasm], provider, model, threads) {
  const ort = await import(new URL(script, RUNTIME));
  ort.env.logLevel = "error";
  ort.env.wasm.wasmPaths = { wasm: new URL(wasm, RUNTIME).href };
  ort.env.wasm.numThreads = threads;
  const session = await ort.InferenceSession.create(model, {
    executionProviders: [provider],
    logSeverityLevel: 3, // errors
  });
  return { ort, session };
}

// Returns the GPU's adapter, and why it is not used, or "".
async function gpu(precision, wanted) {
  if (!navigator.gpu) {
    const insecure = isSecureContext ? "" : " on a page that is not served by https or localhost";
    return [null, `this browser has no WebGPU${insecure}`];
  }
  const adapter = await navigator.gpu.requestAdapter();
  if (!adapter) return [null, "WebGPU finds no GPU"];
  if (wanted === "auto" && adapter.info?.isFallbackAdapter) {
    return [adapter, "WebGPU finds a simulated GPU only, which is slower"];
  }
  if (precision === "fp16" && !adapter.features.has("shader-f16")) {
    return [adapter, "this GPU does not compute fp16 in WebGPU (an fp32 bundle works)"];
  }
  return [adapter, ""];
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
