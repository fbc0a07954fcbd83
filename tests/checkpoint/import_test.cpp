// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <nxd/checkpoint/import.hpp>
#include <nxd/checkpoint/load.hpp>
#include <nxd/checkpoint/verify.hpp>

#include "parts.hpp"

namespace {

/// A Hugging Face folder of the tests' model.
struct Exported {
  parts::Folder folder;
  nxd::PosixStorage hf{folder / "hf"}, to{folder / "to"};

  explicit Exported(std::optional<nxd::DType> dtype = {}, std::int64_t shard_bytes = 1 << 30) {
    auto const entry = parts::save_one(folder / "ckpt", 7, 5);
    nxd::PosixStorage from(folder / "ckpt"), parent(folder.path);
    nxd::export_huggingface(from, entry, parent, "hf", {dtype, shard_bytes, {}});
  }
  nxd::Imported import(nxd::WantedTensors const& wanted, nxd::ImportOptions const& options = {}) {
    return nxd::import_huggingface(hf, to, wanted, "{\"steps\":0}", options);
  }
};

nxd::WantedTensors model_tensors() {
  nxd::WantedTensors all;
  for (auto const& whole : parts::model)
    if (whole.kind == "model") all[whole.name] = whole.shape;
  return all;
}

/// Element 50 of the second tensor, as a run would load it from an import.
float loaded_element(nxd::PosixStorage& storage, std::string const& entry) {
  nxd::Single comm;
  parts::Held held;
  held.add(parts::model[1], nxd::whole(parts::model[1].shape), nxd::DType::f32);
  nxd::load(comm, storage, entry, held.pieces);
  float x;
  std::memcpy(&x, held.memory[0].data() + 4 * 50, 4);
  return x;
}

TEST_CASE("folders of fp32, bf16 and fp16, whole and in shards, become sound checkpoints") {
  auto const exact = parts::value(parts::model[1], 50, 5);
  for (std::int64_t const shard_bytes : {std::int64_t{600}, std::int64_t{1} << 30})
    for (auto const dtype : {nxd::DType::f32, nxd::DType::bf16, nxd::DType::f16}) {
      Exported exported(dtype, shard_bytes);
      auto const imported = exported.import(model_tensors());
      CHECK(imported.unused.empty());
      auto const report = nxd::verify(exported.to, imported.saved.entry);
      CHECK(report.tensors == 5);
      CHECK(report.manifest.step == 0);
      for (auto const& [key, tensor] : report.manifest.tensors) CHECK(tensor.dtype == dtype);
      auto const x = loaded_element(exported.to, imported.saved.entry);
      if (dtype == nxd::DType::f32) CHECK(x == exact);
      if (dtype == nxd::DType::bf16) CHECK(x == nxd::to_float(nxd::to_bf16(exact)));
      if (dtype == nxd::DType::f16) CHECK(x == nxd::to_float(nxd::to_fp16(exact)));
      nxd::Single comm;
      CHECK(nxd::load(comm, exported.to, imported.saved.entry, {}).state == "{\"steps\":0}");
    }
}

TEST_CASE("another type, and more files, are made when asked for") {
  Exported exported(nxd::DType::bf16);
  auto const imported = exported.import(model_tensors(), {nxd::DType::f32, 3});
  auto const report = nxd::verify(exported.to, imported.saved.entry);
  CHECK(report.files == 4);
  for (auto const& [key, tensor] : report.manifest.tensors) CHECK(tensor.dtype == nxd::DType::f32);
}

TEST_CASE("what the model does not have is told, and not imported") {
  Exported exported;
  auto wanted = model_tensors();
  wanted.erase("lm_head.weight");
  auto const imported = exported.import(wanted);
  CHECK(imported.unused == std::vector<std::string>{"lm_head.weight"});
  CHECK(nxd::verify(exported.to, imported.saved.entry).tensors == 4);
}

TEST_CASE("what is missing, or has another shape, is named before a byte is written") {
  Exported exported;
  auto more = model_tensors();
  more["model.layers.1.a.weight"] = {3};
  more["model.layers.1.b.weight"] = {3};
  CHECK_THROWS_WITH_AS(exported.import(more),
                       doctest::Contains("no tensor 'model.layers.1.a.weight', and lacks 1 more"),
                       nxd::ConfigError);
  auto other = model_tensors();
  other["lm_head.weight"] = {8, 13};
  CHECK_THROWS_WITH_AS(exported.import(other),
                       doctest::Contains("'lm_head.weight' has the shape [13, 8], the model of its "
                                         "config.json has [8, 13]"),
                       nxd::ConfigError);
  CHECK_FALSE(std::filesystem::exists(exported.folder / "to"));
}

}  // namespace
