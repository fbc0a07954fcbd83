// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include <nxd/config/commands/task.hpp>
#include <nxd/core/version.hpp>
#include <nxd/tensor/xtensor.hpp>
#include <nxd/train/config.hpp>

namespace nxd {

/// What `nxd --version` prints: the version, and what is compiled in.
inline std::string version_text() {
  return std::string("nxd ") + version +
         "\n"
         "models      llama\n"
         "precision   fp32, fp32_bf16x3, mixed_precision, mixed_precisionSR, bf16SR, manual\n"
         "strategies  tensor parallel, sequence parallel, pipeline parallel, data parallel, "
         "ZeRO-1\n"
         "schedules   " +
         spellings<PipelineKind>() +
         "\n"
         "optimizers  adamw, sgd\n"
         "backend     xtensor, xsimd " +
         std::to_string(detail::lane_count * 32) +
         " bit, BLAS, OpenMP\n"
         "messages    MPI\n"
         "files       YAML, safetensors, Megatron .bin/.idx, text";
}

}  // namespace nxd
