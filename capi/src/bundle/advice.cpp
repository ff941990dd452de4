#include "bundle/advice.h"

#include "bundle/number.h"
#include "text.h"

namespace flow_engine {

std::string rebuild_command(const std::string& bundle, const Manifest& manifest,
                            const std::string& target, bool whole) {
  const bool has_plugin = manifest.has_role("plugin");
  const bool plan_alone = manifest.has_role("network") && manifest.has_role("plan") && !has_plugin;
  if (target == "tensorrt" && !whole && plan_alone) {
    return concat("python -m export.rebuild ", shell_quoted(bundle));
  }
  std::string command =
      concat("python -m export.build_engine --network ", shell_quoted(manifest.network),
             " --weights FILE --precision ", manifest.precision);
  if (manifest.max_epe_increase) {
    command += concat(" --max-epe-increase ", general(100 * *manifest.max_epe_increase), "%");
  }
  if (!target.empty()) command += " --targets " + target;
  if (manifest.has_role("features") && !whole) command += " --split";
  if (has_plugin) command += " --correlation library";
  // The networks that are refined by default are those with passes.
  const std::string refine = manifest.refine.empty() && manifest.passes ? "none" : manifest.refine;
  if (!refine.empty()) command += " --refine " + refine;
  if (manifest.passes) command += concat(" --iterations ", *manifest.passes);
  if (const auto& updates = manifest.recurrence) {
    command += concat(" --iterations ", updates->iterations, " --lookup ", updates->lookup);
  }
  const Profile& profile = manifest.profile;
  const auto size = [&](const char* option, const Size& value) {
    command += concat(" ", option, " ", value[1], "x", value[2]);
  };
  size("--min-size", profile.min);
  size("--size", profile.opt);
  size("--max-size", profile.max);
  return concat(command, " --max-batch ", profile.max[0], " -o ", shell_quoted(bundle));
}

}  // namespace flow_engine
