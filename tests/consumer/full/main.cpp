// SPDX-License-Identifier: Apache-2.0
// One use of each package behind a border header: what links here links everywhere.
#include <cstdio>
#include <string>

#include <cblas.h>

#include <nxd/checkpoint/json.hpp>
#include <nxd/comm/guard.hpp>
#include <nxd/config/yaml.hpp>
#include <nxd/tensor/xtensor.hpp>

int main(int argc, char** argv) {
  return nxd::guard_main(argc, argv, [](nxd::Mpi const& mpi) {
    auto const yaml = nxd::parse_yaml("seed: 3", "job.yaml");
    auto const json = nxd::parse_json("[1, 2]", "list.json");
    auto const buffer = nxd::Xt::allocate<float>(2);
    nxd::Xt::data<float>(buffer)[0] = 3;
    nxd::Xt::data<float>(buffer)[1] = 4;
    auto const dot = cblas_sdot(2, buffer->data(), 1, buffer->data(), 1);
    bool const right = mpi.size() == 1 && yaml.find("seed") != nullptr &&
                       nxd::to_text(json).find('2') != std::string::npos && dot == 25;
    std::puts(right ? "every package answers" : "a package answers wrongly");
    return right ? 0 : 1;
  });
}
