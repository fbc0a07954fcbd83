// SPDX-License-Identifier: Apache-2.0
//
// What our reader says of each file of a folder, for foreign_test.sh:
//
//   verdicts DIRECTORY OUT   a line of JSON for each *.safetensors of DIRECTORY, in the order of
//   their
//                            names: its tensors, or the sentence that refuses it. What is accepted
//                            is written anew, by our writer, into the folder OUT.

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include <nxd/checkpoint/safetensors.hpp>
#include <nxd/checkpoint/storage.hpp>

namespace {

nxd::Json json_of(nxd::SafetensorsHeader const& header) {
  nxd::Json::Object tensors;
  for (auto const& entry : header.entries)
    tensors[entry.name] = nxd::Json(nxd::Json::Array{
        std::string(name(entry.dtype)), nxd::Json(entry.shape), entry.offset, entry.bytes});
  nxd::Json::Object metadata(header.metadata.begin(), header.metadata.end());
  return nxd::Json::Object{{"tensors", std::move(tensors)}, {"metadata", std::move(metadata)}};
}

void write_anew(nxd::PosixFile& from, nxd::SafetensorsHeader const& header, nxd::PosixFile to) {
  auto entries = header.entries;
  auto const first = nxd::safetensors_header(entries, header.metadata);
  to.write(std::as_bytes(std::span(first)));
  for (auto const& entry : header.entries) {
    std::vector<std::byte> bytes(static_cast<std::size_t>(entry.bytes));
    from.read(entry.offset, bytes);
    to.write(bytes);
  }
  to.close();
}

nxd::Json verdict(nxd::PosixStorage& in, nxd::PosixStorage& out, std::string const& name) {
  auto file = in.open(name);
  try {
    auto const header = nxd::read_safetensors_header(file, name);
    write_anew(file, header, out.create(name));
    return json_of(header);
  } catch (nxd::CorruptInput const& refused) {
    return nxd::Json::Object{{"refused", std::string(refused.what())}};
  }
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 3) return 64;
  nxd::PosixStorage in(arguments[1]), out(arguments[2]);
  std::vector<std::string> names;
  for (auto const& found : in.list("")) names.push_back(found.name);
  std::ranges::sort(names);
  for (auto const& name : names) {
    auto line = nxd::to_text(verdict(in, out, name));
    std::ranges::replace(line, '\n', ' ');  // only between members: texts have none
    std::puts(line.c_str());
  }
}
