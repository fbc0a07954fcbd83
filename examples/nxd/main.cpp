// SPDX-License-Identifier: Apache-2.0
//
// The program: `nxd train CONFIG.yaml`, `nxd generate CHECKPOINT --prompt TEXT`, and so on.

#include <nxd/config/command.hpp>

#include "instances.hpp"

int main(int argc, char** argv) {
  return nxd::guard_main(argc, argv,
                         [&](nxd::MpiStart& start) { return nxd::command(start, argc, argv); });
}
