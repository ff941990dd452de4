#ifndef FLOW_ENGINE_SYSTEM_CACHE_H_
#define FLOW_ENGINE_SYSTEM_CACHE_H_

#include <string>

namespace flow_engine {

// A subfolder of the cache that Python's engine uses, created and limited to 1 GiB, whose least
// recently used files are removed first; "": there is none, or it cannot be written. As
// engine/system/cache.py: $FLOWNET_ENGINE_CACHE, an empty value is no cache.
std::string cache_folder(const std::string& name);

}  // namespace flow_engine

#endif  // FLOW_ENGINE_SYSTEM_CACHE_H_
