/* C interface of flownet-engine: open a bundle, compute optical flow. C99 and C++.
 *
 * All functions may be called from several threads at once, also with the same engine. No C++
 * exception leaves them: what fails returns a status, and flow_engine_last_error() its message.
 *
 * The bundle is checked as `engine.load` of Python checks it (manifest, sizes, SHA-256). Signatures
 * (manifest.json.sig) are NOT checked: open bundles of sources that you trust.
 *
 * Structures start with their size, which the caller sets to sizeof: programs and library of
 * different versions then work together or refuse each other with a message.
 */

#ifndef FLOW_ENGINE_H_
#define FLOW_ENGINE_H_

#include <stddef.h>
#include <stdint.h>

#if defined(FLOW_ENGINE_BUILD)
#define FLOW_ENGINE_API __attribute__((visibility("default")))
#else
#define FLOW_ENGINE_API
#endif

#define FLOW_ENGINE_VERSION_MAJOR 1
#define FLOW_ENGINE_VERSION_MINOR 1
#define FLOW_ENGINE_VERSION_PATCH 0

#ifdef __cplusplus
extern "C" {
#endif

/* An open engine: a number, not an address, so that calls with a closed one are refused. */
typedef struct FlowEngine FlowEngine;

typedef enum FlowEngineStatus {
  FLOW_ENGINE_OK = 0,
  FLOW_ENGINE_INPUT_ERROR = 1,   /* an argument is invalid, or the engine is closed */
  FLOW_ENGINE_BUNDLE_ERROR = 2,  /* the bundle is missing, incomplete, changed or malformed */
  FLOW_ENGINE_BACKEND_ERROR = 3, /* the runtime cannot run the bundle here */
  FLOW_ENGINE_NO_MEMORY = 4,
  FLOW_ENGINE_INTERNAL_ERROR = 5 /* a fault of the library */
} FlowEngineStatus;

/* Order of the 8-bit channels of a pixel. */
typedef enum FlowEngineFormat {
  FLOW_ENGINE_RGB8 = 1,
  FLOW_ENGINE_BGR8 = 2, /* OpenCV */
  FLOW_ENGINE_GREY8 = 3,
  FLOW_ENGINE_RGBA8 = 4, /* alpha is ignored */
  FLOW_ENGINE_BGRA8 = 5
} FlowEngineFormat;

/* Zero, except for the size, is the default of all fields. */
typedef struct FlowEngineOptions {
  size_t struct_size;  /* sizeof(FlowEngineOptions) */
  const char* backend; /* "tensorrt", "openvino" or "onnxruntime"; NULL or "auto": the first of
                          these that this library was built with and that can run the bundle */
  int32_t threads;     /* CPU threads; 0: all that the process may use */
  int32_t streams;     /* threads that call the engine at once and share the CPU threads; 0: one */
  int32_t iterations;  /* updates of RAFT, passes of coarse-to-fine networks; 0: the bundle's own */
  int32_t device;      /* index of the GPU, for "tensorrt" */
  const char* refine;  /* since 1.1: "variational": the flow is refined on the CPU by the images
                          alone, "none": it is the network's own; NULL: as the bundle says */
} FlowEngineOptions;

/* Strings belong to the engine. */
typedef struct FlowEngineInfo {
  size_t struct_size; /* sizeof(FlowEngineInfo) */
  const char* network;
  const char* precision;       /* "fp32", "fp16" or "int8" */
  const char* backend;         /* "openvino", ... */
  const char* device;          /* "cpu", "cuda:0" */
  const char* runtime_version; /* of OpenVINO, ... */
  const char* arithmetic;      /* what it computes in, and why where that is not the precision */
  int32_t divisor;             /* images are padded to multiples of it */
} FlowEngineInfo;

typedef struct FlowEngineImage {
  size_t struct_size; /* sizeof(FlowEngineImage) */
  const uint8_t* data;
  int32_t height;     /* pixels, at least 1 */
  int32_t width;      /* pixels */
  int64_t row_stride; /* bytes from a row to the next; 0: no gap */
  int32_t format;     /* FlowEngineFormat */
} FlowEngineImage;

/* Memory of the caller for a flow: float32 in pixels, x then y. The point (x, y) of the first image
 * is at (x + row[2 * x], y + row[2 * x + 1]) in the second, with row the flow's row y. */
typedef struct FlowEngineFlow {
  size_t struct_size; /* sizeof(FlowEngineFlow) */
  float* data;        /* height rows of 2 * width values */
  int32_t height;     /* of the images */
  int32_t width;      /* of the images */
  int64_t row_stride; /* bytes from a row to the next, a multiple of 4; 0: no gap */
} FlowEngineFlow;

/* Version of the library: 10000 * major + 100 * minor + patch. */
FLOW_ENGINE_API int32_t flow_engine_version(void);

/* Opens a bundle, after checking the size and SHA-256 of every file in it.
 *
 * bundle: a folder written by `python -m export.build_engine`, in the file system's encoding.
 * options: NULL: all defaults.
 * engine: receives the handle; NULL after an error.
 */
FLOW_ENGINE_API FlowEngineStatus flow_engine_open(const char* bundle,
                                                  const FlowEngineOptions* options,
                                                  FlowEngine** engine);

/* Fills in info, whose struct_size is set. Its strings live until the engine is closed. */
FLOW_ENGINE_API FlowEngineStatus flow_engine_info(FlowEngine* engine, FlowEngineInfo* info);

/* Computes the flow from image1 to image2, which have the same size and may differ in format.
 * Waits for the result. After an error the content of flow->data is undefined. */
FLOW_ENGINE_API FlowEngineStatus flow_engine_infer(FlowEngine* engine,
                                                   const FlowEngineImage* image1,
                                                   const FlowEngineImage* image2,
                                                   const FlowEngineFlow* flow);

/* Computes the flows of `count` pairs of one size in one call of the runtime.
 *
 * images1, images2, flows: arrays of `count` structures, all of the struct_size of the first.
 */
FLOW_ENGINE_API FlowEngineStatus flow_engine_infer_batch(FlowEngine* engine, size_t count,
                                                         const FlowEngineImage* images1,
                                                         const FlowEngineImage* images2,
                                                         const FlowEngineFlow* flows);

/* The message of the last function that failed in this thread, UTF-8; "" if none did. It is valid
 * until the next call of this thread. */
FLOW_ENGINE_API const char* flow_engine_last_error(void);

/* Closes an engine: later calls with it are refused; its memory is freed when the calls that run in
 * other threads have returned, without waiting for them. NULL and closed engines are ignored. */
FLOW_ENGINE_API void flow_engine_close(FlowEngine* engine);

#ifdef __cplusplus
}
#endif

#endif /* FLOW_ENGINE_H_ */
