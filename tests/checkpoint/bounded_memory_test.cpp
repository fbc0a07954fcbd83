// SPDX-License-Identifier: Apache-2.0
#include <sys/resource.h>
#include <sys/wait.h>

#include <fstream>
#include <functional>
#include <new>

#include <doctest/doctest.h>

#include <nxd/checkpoint/diff.hpp>
#include <nxd/checkpoint/import.hpp>
#include <nxd/checkpoint/rewrite.hpp>
#include <nxd/checkpoint/verify.hpp>

#include "parts.hpp"

namespace {

constexpr std::int64_t mebibyte = std::int64_t{1} << 20;
constexpr bool sanitized =  // their own memory has no limit
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    true;
#else
    false;
#endif

/// Bytes of address space that this process has.
std::int64_t address_space() {
  std::int64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  return pages * ::sysconf(_SC_PAGESIZE);
}

/// Runs `work` in a process of its own that gets no more than `bytes` on top of what it has.
/// @return whether it came to its end
bool within(std::int64_t bytes, std::function<void()> const& work) {
  auto const child = ::fork();
  if (child == 0) {
    auto const most = static_cast<::rlim_t>(address_space() + bytes);
    ::rlimit const limit{most, most};
    ::setrlimit(RLIMIT_AS, &limit);
    try {
      work();
    } catch (std::bad_alloc const&) {
      ::_exit(1);
    } catch (std::exception const& e) {
      std::fprintf(stderr, "%s\n", e.what());
      ::_exit(2);
    }
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK(WIFEXITED(status));
  return WEXITSTATUS(status) == 0;
}

/// A checkpoint of three times 48 MiB in one tensor each, made block by block.
void make_large(nxd::PosixStorage& storage) {
  std::vector<nxd::TensorPlan> tensors;
  for (char const* name : {"a", "b", "c"})
    tensors.push_back({{"model", name}, nxd::DType::f32, {12 * 1024, 1024}});
  nxd::Manifest manifest;
  manifest.step = 1;
  auto const fill = [](nxd::Piece const& piece) {
    for (std::int64_t i = 0; i < nxd::volume(piece.box); i += 512)
      parts::set(piece, i, static_cast<float>(piece.box.start[0] + i));
  };
  nxd::write_checkpoint(storage, manifest, tensors, 2, "{}", fill, [](auto const&) {});
}

}  // namespace

TEST_CASE(
    "a checkpoint larger than the memory allowed is verified, compared, rewritten, exported and imported" *
    doctest::skip(sanitized)) {
  parts::Folder folder;
  nxd::PosixStorage from(folder / "from"), parent(folder.path), hf(folder / "hf");
  nxd::PosixStorage merged(folder / "merged"), imported(folder / "imported");
  constexpr auto allowed = 44 * mebibyte;
  std::string const entry = "step-000000000001.g000001";
  CHECK_FALSE(within(allowed, [] { std::vector<char> large(48 * mebibyte, 'x'); }));
  REQUIRE(within(allowed, [&] { make_large(from); }));
  CHECK(within(allowed, [&] { nxd::reshard(from, entry, merged, 1); }));
  CHECK(within(allowed, [&] { nxd::verify(merged, entry); }));
  CHECK(within(allowed, [&] {
    if (!nxd::diff(from, entry, merged, entry).empty()) throw std::logic_error("differs");
  }));
  CHECK(within(allowed, [&] {
    nxd::export_huggingface(from, entry, parent, "hf", {nxd::DType::bf16, 60 * mebibyte, {}});
  }));
  nxd::WantedTensors wanted;
  for (char const* name : {"a", "b", "c"}) wanted[name] = {12 * 1024, 1024};
  CHECK(within(allowed, [&] {
    nxd::import_huggingface(hf, imported, wanted, "{}", {nxd::DType::f32, 1});
  }));
  CHECK(nxd::verify(imported, "step-000000000000.g000001").tensors == 3);
}
