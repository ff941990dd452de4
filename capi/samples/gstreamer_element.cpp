// A GStreamer element that draws the flow as a picture: red is horizontal, green vertical motion.
//
//   GST_PLUGIN_PATH=DIR gst-launch-1.0 filesrc location=video.mp4 ! decodebin ! videoconvert
//       ! flowengine bundle=DIR ! videoconvert ! autovideosink
//
// Each frame becomes the flow from the last frame to it; the first one becomes grey.

#include <flow_engine.h>
#include <gst/gst.h>
#include <gst/video/gstvideofilter.h>
#include <gst/video/video.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

namespace {

constexpr float kLargest = 20.0F;  // pixels of motion that are drawn as full colour

// GStreamer allocates and zeroes it; `state` has what needs a constructor.
struct State {
  FlowEngine* engine = nullptr;
  std::vector<uint8_t> last;
  std::vector<float> vectors;
};

struct GstFlowEngine {
  GstVideoFilter parent;
  gchar* bundle;
  State* state;
};

struct GstFlowEngineClass {
  GstVideoFilterClass parent_class;
};

G_DEFINE_TYPE(GstFlowEngine, gst_flow_engine, GST_TYPE_VIDEO_FILTER)

GstFlowEngine* self_of(gpointer object) { return static_cast<GstFlowEngine*>(object); }

uint8_t shade(float motion) {
  const float scaled = 127.5F + 127.5F * motion / kLargest;
  return static_cast<uint8_t>(std::lround(std::clamp(scaled, 0.0F, 255.0F)));
}

void draw(const std::vector<float>& vectors, GstVideoFrame* frame) {
  const int height = GST_VIDEO_FRAME_HEIGHT(frame), width = GST_VIDEO_FRAME_WIDTH(frame);
  auto* const data = static_cast<uint8_t*>(GST_VIDEO_FRAME_PLANE_DATA(frame, 0));
  for (int y = 0; y < height; ++y) {
    uint8_t* const row = data + y * GST_VIDEO_FRAME_PLANE_STRIDE(frame, 0);
    for (int x = 0; x < width; ++x) {
      const float* const vector = vectors.data() + 2 * (y * width + x);
      row[3 * x] = shade(vector[0]), row[3 * x + 1] = shade(vector[1]), row[3 * x + 2] = 128;
    }
  }
}

FlowEngineImage image_of(const uint8_t* data, GstVideoFrame* frame, int64_t stride) {
  return {sizeof(FlowEngineImage),      data,   GST_VIDEO_FRAME_HEIGHT(frame),
          GST_VIDEO_FRAME_WIDTH(frame), stride, FLOW_ENGINE_RGB8};
}

GstFlowReturn transform(GstVideoFilter* filter, GstVideoFrame* frame) {
  GstFlowEngine* const self = self_of(filter);
  State& state = *self->state;
  const int height = GST_VIDEO_FRAME_HEIGHT(frame), width = GST_VIDEO_FRAME_WIDTH(frame);
  const int stride = GST_VIDEO_FRAME_PLANE_STRIDE(frame, 0);
  const auto* const data = static_cast<const uint8_t*>(GST_VIDEO_FRAME_PLANE_DATA(frame, 0));
  const std::vector<uint8_t> current(data, data + static_cast<size_t>(height) * stride);
  state.vectors.assign(static_cast<size_t>(height) * width * 2, 0.0F);
  if (!state.last.empty()) {
    const FlowEngineImage first = image_of(state.last.data(), frame, stride);
    const FlowEngineImage second = image_of(current.data(), frame, stride);
    const FlowEngineFlow flow = {sizeof flow, state.vectors.data(), height, width, 0};
    if (flow_engine_infer(state.engine, &first, &second, &flow) != FLOW_ENGINE_OK) {
      GST_ELEMENT_ERROR(self, LIBRARY, FAILED, ("%s", flow_engine_last_error()), (nullptr));
      return GST_FLOW_ERROR;
    }
  }
  draw(state.vectors, frame);
  state.last = current;
  return GST_FLOW_OK;
}

// Before the first frame, and where the size changes: there is no last frame of that size.
gboolean set_info(GstVideoFilter* filter, GstCaps*, GstVideoInfo*, GstCaps*, GstVideoInfo*) {
  self_of(filter)->state->last.clear();
  return TRUE;
}

gboolean start(GstBaseTransform* transform) {
  GstFlowEngine* const self = self_of(transform);
  if (flow_engine_open(self->bundle, nullptr, &self->state->engine) == FLOW_ENGINE_OK) return TRUE;
  GST_ELEMENT_ERROR(self, RESOURCE, OPEN_READ, ("%s", flow_engine_last_error()), (nullptr));
  return FALSE;
}

gboolean stop(GstBaseTransform* transform) {
  State& state = *self_of(transform)->state;
  flow_engine_close(state.engine);
  state = State();
  return TRUE;
}

void set_property(GObject* object, guint, const GValue* value, GParamSpec*) {
  g_free(self_of(object)->bundle);
  self_of(object)->bundle = g_value_dup_string(value);
}

void get_property(GObject* object, guint, GValue* value, GParamSpec*) {
  g_value_set_string(value, self_of(object)->bundle);
}

void finalize(GObject* object) {
  delete self_of(object)->state;
  g_free(self_of(object)->bundle);
  G_OBJECT_CLASS(gst_flow_engine_parent_class)->finalize(object);
}

void gst_flow_engine_init(GstFlowEngine* self) { self->state = new State; }

void gst_flow_engine_class_init(GstFlowEngineClass* type) {
  auto* const object = G_OBJECT_CLASS(type);
  object->set_property = set_property;
  object->get_property = get_property;
  object->finalize = finalize;
  const auto flags = static_cast<GParamFlags>(G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS);
  g_object_class_install_property(
      object, 1, g_param_spec_string("bundle", "Bundle", "folder of the bundle", nullptr, flags));

  auto* const element = GST_ELEMENT_CLASS(type);
  GstCaps* const caps = gst_caps_from_string(GST_VIDEO_CAPS_MAKE("RGB"));
  gst_element_class_add_pad_template(
      element, gst_pad_template_new("sink", GST_PAD_SINK, GST_PAD_ALWAYS, caps));
  gst_element_class_add_pad_template(
      element, gst_pad_template_new("src", GST_PAD_SRC, GST_PAD_ALWAYS, caps));
  gst_caps_unref(caps);
  gst_element_class_set_static_metadata(element, "Optical flow", "Filter/Effect/Video",
                                        "Draws the motion from the last frame", "flownet-engine");

  GST_BASE_TRANSFORM_CLASS(type)->start = start;
  GST_BASE_TRANSFORM_CLASS(type)->stop = stop;
  GST_VIDEO_FILTER_CLASS(type)->set_info = set_info;
  GST_VIDEO_FILTER_CLASS(type)->transform_frame_ip = transform;
}

gboolean register_element(GstPlugin* plugin) {
  return gst_element_register(plugin, "flowengine", GST_RANK_NONE, gst_flow_engine_get_type());
}

}  // namespace

#define PACKAGE "flownet-engine"
GST_PLUGIN_DEFINE(GST_VERSION_MAJOR, GST_VERSION_MINOR, flowengine, "Optical flow",
                  register_element, "1.0", "MIT/X11", "flownet-engine", "flownet-engine")
