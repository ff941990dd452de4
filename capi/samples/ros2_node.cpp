// A ROS 2 node: images on `image_raw`, the flow from each to the next on `flow` (32FC2).
//
//   flow_node --ros-args -p bundle:=DIR
//
// QoS: the newest image counts, so a slow node skips images instead of falling behind.

#include <flow_engine.h>

#include <exception>
#include <memory>
#include <rclcpp/rclcpp.hpp>
#include <sensor_msgs/image_encodings.hpp>
#include <sensor_msgs/msg/image.hpp>
#include <stdexcept>
#include <string>
#include <utility>

namespace {

using sensor_msgs::msg::Image;

// 0: not one of the encodings with 8 bits that the library reads.
int32_t format_of(const std::string& encoding) {
  using namespace sensor_msgs::image_encodings;
  if (encoding == RGB8) return FLOW_ENGINE_RGB8;
  if (encoding == BGR8) return FLOW_ENGINE_BGR8;
  if (encoding == MONO8) return FLOW_ENGINE_GREY8;
  if (encoding == RGBA8) return FLOW_ENGINE_RGBA8;
  return encoding == BGRA8 ? FLOW_ENGINE_BGRA8 : 0;
}

FlowEngineImage image_of(const Image& message) {
  return {sizeof(FlowEngineImage),
          message.data.data(),
          static_cast<int32_t>(message.height),
          static_cast<int32_t>(message.width),
          static_cast<int64_t>(message.step),
          format_of(message.encoding)};
}

// Why the library cannot read it; empty: it can.
std::string fault_of(const Image& message) {
  if (format_of(message.encoding) == 0) {
    return "encoding '" + message.encoding + "'; expected rgb8, bgr8, mono8, rgba8 or bgra8";
  }
  const size_t expected = size_t{message.step} * message.height;
  if (message.step > 0 && message.data.size() >= expected) return "";
  return std::to_string(message.data.size()) + " bytes of data; expected " +
         std::to_string(message.height) + " rows of " + std::to_string(message.step);
}

class FlowNode : public rclcpp::Node {
 public:
  FlowNode() : Node("flow_node") {
    const auto bundle = declare_parameter<std::string>("bundle");
    if (flow_engine_open(bundle.c_str(), nullptr, &engine_) != FLOW_ENGINE_OK) {
      throw std::runtime_error(flow_engine_last_error());
    }
    publisher_ = create_publisher<Image>("flow", 10);
    subscription_ = create_subscription<Image>(
        "image_raw", rclcpp::SensorDataQoS().keep_last(1),
        [this](Image::ConstSharedPtr message) { receive(std::move(message)); });
  }

  ~FlowNode() override { flow_engine_close(engine_); }

 private:
  void receive(Image::ConstSharedPtr image) {
    if (const std::string fault = fault_of(*image); !fault.empty()) {
      RCLCPP_ERROR_THROTTLE(get_logger(), *get_clock(), 1000, "image: %s", fault.c_str());
      return;
    }
    const Image::ConstSharedPtr last = std::move(last_);
    last_ = image;
    if (last == nullptr || last->height != image->height || last->width != image->width) return;
    const FlowEngineImage first = image_of(*last), second = image_of(*image);
    auto result = std::make_unique<Image>();
    result->header = last->header;
    result->height = last->height;
    result->width = last->width;
    result->encoding = sensor_msgs::image_encodings::TYPE_32FC2;
    result->step = static_cast<uint32_t>(last->width * 2 * sizeof(float));
    result->data.resize(size_t{result->step} * result->height);
    const FlowEngineFlow flow = {sizeof flow, reinterpret_cast<float*>(result->data.data()),
                                 first.height, first.width, 0};
    if (flow_engine_infer(engine_, &first, &second, &flow) == FLOW_ENGINE_OK) {
      publisher_->publish(std::move(result));
    } else {
      RCLCPP_ERROR_THROTTLE(get_logger(), *get_clock(), 1000, "%s", flow_engine_last_error());
    }
  }

  FlowEngine* engine_ = nullptr;
  Image::ConstSharedPtr last_;
  rclcpp::Publisher<Image>::SharedPtr publisher_;
  rclcpp::Subscription<Image>::SharedPtr subscription_;
};

}  // namespace

int main(int count, char** arguments) {
  rclcpp::init(count, arguments);
  int status = 0;
  try {
    rclcpp::spin(std::make_shared<FlowNode>());
  } catch (const std::exception& error) {  // no such bundle, no parameter `bundle`
    RCLCPP_FATAL(rclcpp::get_logger("flow_node"), "%s", error.what());
    status = 1;
  }
  rclcpp::shutdown();
  return status;
}
