// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nxd/checkpoint/manifest.hpp>
#include <nxd/checkpoint/names.hpp>
#include <nxd/checkpoint/s3/upload.hpp>
#include <nxd/checkpoint/storage.hpp>

namespace nxd {

/// A file of an `S3Storage`: an object that is read by ranges, or one in the making.
class S3File {
 public:
  S3File(std::shared_ptr<S3Client> client, S3Object object)
      : client_(std::move(client)), object_(std::move(object)) {}
  S3File(std::shared_ptr<S3Client> client, std::string key)
      : client_(client),
        object_{std::move(key)},
        upload_(std::make_unique<S3Upload>(std::move(client), object_.key)) {}

  void reserve(std::int64_t bytes) { upload_->expect(bytes); }
  void write(std::span<std::byte const> bytes) { upload_->write(bytes); }

  /// The object is in the bucket, whole. @throws SyncError if the server has something else
  void sync() { upload_->finish(); }
  void close() {
    if (upload_) upload_->finish();
  }

  std::int64_t size() const { return object_.size; }
  void read(std::int64_t offset, std::span<std::byte> to) {
    get(*client_, object_.key, offset, to);
  }

 private:
  std::shared_ptr<S3Client> client_;
  S3Object object_;
  std::unique_ptr<S3Upload> upload_;
};

/// A directory of checkpoints in an S3 bucket. It looks like one of files, so that what `aws s3
/// sync` copies from the one is the other:
///
///   PREFIX/step-000000001000.g000017/MANIFEST.json            the commit
///   PREFIX/step-000000001000.g000017/model/00000.safetensors  written where it stays
///   PREFIX/.tmp-step-000000001000.g000017                     a marker: the entry is being made
///
/// A bucket has no rename. What the protocol of saves does with one has this meaning here:
///
///   make_directory(".tmp-E")    puts the marker, if there is none: nobody else makes this entry
///   files of ".tmp-E"           are objects under "E/"; its manifest is "E/.tmp-MANIFEST.json"
///   rename(".tmp-E", "E")       puts "E/MANIFEST.json" if there is none: the commit, at once or
///                               not at all; the draft of the manifest and the marker then go
///   rename("E", ".bad-E")       puts the marker ".bad-E": from now on the entry has that name,
///                               ".trash-E" and ".diag-E" alike, and its objects stay where they
///                               are
///   rename(".tmp-E", ".trash-E") the same, unless E has been committed
///   remove(".trash-E")          removes the manifest, the other objects, the uploads under way
///   and,
///                               last, the marker
///
/// A marker hides its entry; but an entry with a manifest is committed, even if ".tmp-E" has
/// stayed. Markers are put with `If-None-Match: *`, as manifests are (see `put_new`). Objects are
/// seen whole or not at all, so that a reader needs no listing but that of entries.
class S3Storage {
 public:
  using File = S3File;

  explicit S3Storage(S3Place place, S3Settings settings = s3_settings())
      : client_(std::make_shared<S3Client>(std::move(place.bucket), std::move(settings))),
        root_(place.prefix.empty() ? "" : place.prefix + "/") {}
  explicit S3Storage(std::string const& name) : S3Storage(s3_place(name)) {}

  std::string where(std::string const& path) const {
    auto key = root_ + path;
    while (key.ends_with('/')) key.pop_back();
    return client_->where(key);
  }

  /// Asks for the bucket, so that a wrong name shows before a run begins.
  void make_root() { nxd::list(*client_, root_ + run_marker, ""); }

  S3File create(std::string const& path) {
    if (path.find('/') == std::string::npos && head(*client_, key(path)))
      throw IoError(where(path) + ": cannot create: it exists already");
    return {client_, key(path)};
  }

  S3File open(std::string const& path) {
    auto found = head(*client_, key(path));
    if (!found) throw NotThere(where(path) + ": cannot open: there is no such object");
    return {client_, std::move(*found)};
  }

  /// Right under the root, an entry of one's own; folders in folders need not be made.
  void make_directory(std::string const& path) {
    if (path.find('/') != std::string::npos) return;
    auto const claim = path + " " + unique_id() + "\n";
    put_new(*client_, root_ + path, bytes_of(claim), "make");
  }

  std::vector<DirectoryEntry> list(std::string const& path) {
    return path.empty() ? list_root() : list_folder(path);
  }

  void rename(std::string const& from, std::string const& to) {
    auto const [from_state, from_entry] = split(from);
    auto const [to_state, to_entry] = split(to);
    if (from_entry.empty()) return rename_object(from, to);
    NXD_EXPECTS(from_entry == to_entry);
    if (!to_state.empty()) put_marker(to);
    if (from_state == draft_state && to_state == trash_state) return take_away(from_entry);
    if (from_state != draft_state) return;
    auto const text = get(*client_, key(from + "/" + manifest_name), most_text);
    put_new(*client_, root_ + from_entry + "/" + manifest_name, bytes_of(text), "commit");
    if (is_swept(from, from_entry)) {
      nxd::remove(*client_, root_ + from_entry + "/" + manifest_name);
      throw NotThere(where(from) + ": cannot commit: it is being removed");
    }
    try {
      nxd::remove(*client_, key(from + "/" + manifest_name));
      nxd::remove(*client_, root_ + from);
    } catch (IoError const&) {  // the entry is committed; what stays hides nothing
    }
  }

  /// Names are in the bucket when their objects are.
  void sync_directory(std::string const&) {}

  void remove(std::string const& path) {
    auto const [state, entry] = split(path);
    if (entry.empty() || path.find('/') != std::string::npos)
      return nxd::remove(*client_, key(path));
    auto const folder = root_ + entry + "/";
    nxd::remove(*client_, folder + manifest_name);
    for (auto const& upload : uploads(*client_, folder)) abort(*client_, upload);
    std::vector<std::string> keys;
    for (auto const& object : nxd::list(*client_, folder, "").objects) keys.push_back(object.key);
    nxd::remove(*client_, keys);
    for (auto at = states.rbegin(); at != states.rend(); ++at)
      nxd::remove(*client_, root_ + std::string(*at) + entry);
  }

  /// A bucket has no end.
  std::int64_t free_bytes() { return std::numeric_limits<std::int64_t>::max(); }

 private:
  static constexpr std::string_view draft_state = ".tmp-", trash_state = ".trash-";
  /// What a name can begin with, the strongest first.
  static constexpr std::array<std::string_view, 4> states{trash_state, ".bad-", ".diag-",
                                                          draft_state};
  static constexpr char const* run_marker = "RUN.json";
  static constexpr std::int64_t no_time = 1;  ///< of a folder: that of what is in it counts
  static constexpr std::int64_t most_text = std::int64_t{256} << 20;

  /// ".bad-" and "step-..." of ".bad-step-.../model"; no entry if the name is of nothing with one.
  static std::pair<std::string, std::string> split(std::string const& path) {
    auto const name = path.substr(0, path.find('/'));
    if (entry_from(name)) return {"", name};
    for (auto const state : states)
      if (name.starts_with(state) && entry_from(name.substr(state.size())))
        return {std::string(state), name.substr(state.size())};
    return {};
  }

  /// Where a path of the directory lies in the bucket.
  std::string key(std::string const& path) const {
    auto const [state, entry] = split(path);
    auto const slash = path.find('/');
    if (entry.empty() || slash == std::string::npos) return root_ + path;
    auto const inside = path.substr(slash + 1);
    bool const draft = state == draft_state && inside == manifest_name;
    return root_ + entry + "/" + (draft ? std::string(draft_state) : "") + inside;
  }

  void put_marker(std::string const& name) {
    if (!head(*client_, root_ + name)) put_new(*client_, root_ + name, bytes_of(name), "make");
  }

  /// A sweep takes what belongs to a draft, or has taken it.
  bool is_swept(std::string const& draft, std::string const& entry) {
    try {
      return head(*client_, root_ + std::string(trash_state) + entry) ||
             !head(*client_, root_ + draft);
    } catch (IoError const&) {  // then the commit stands
      return false;
    }
  }

  /// After the marker: one of a sweep and of a save that goes on after all sees the other, or both.
  void take_away(std::string const& entry) {
    if (!head(*client_, root_ + entry + "/" + manifest_name)) return;
    nxd::remove(*client_, root_ + std::string(trash_state) + entry);
    throw IoError(where(entry) + ": cannot remove: it has been committed");
  }

  void rename_object(std::string const& from, std::string const& to) {
    auto const text = get(*client_, key(from), most_text);
    put_new(*client_, key(to), bytes_of(text), "make");
    nxd::remove(*client_, key(from));
  }

  std::vector<DirectoryEntry> list_root() {
    auto const listing = nxd::list(*client_, root_, "/");
    std::vector<DirectoryEntry> all;
    std::map<std::string, S3Object const*> markers;  // by entry, the strongest
    for (auto const& object : listing.objects) {
      auto const name = object.key.substr(root_.size());
      auto const [state, entry] = split(name);
      if (name.empty()) continue;
      if (entry.empty() || state.empty()) {
        all.push_back({name, false, object.modified});
        continue;
      }
      auto& strongest = markers[entry];
      auto const rank = [&](S3Object const& o) {
        return std::ranges::find(states, split(o.key.substr(root_.size())).first) - states.begin();
      };
      if (strongest == nullptr || rank(object) < rank(*strongest)) strongest = &object;
    }
    for (auto const& folder : listing.folders) {
      auto const name = folder.substr(root_.size(), folder.size() - root_.size() - 1);
      auto const marker = markers.find(name);
      if (marker != markers.end() && is_draft(*marker->second) &&
          head(*client_, folder + manifest_name))
        markers.erase(marker);
      else if (marker != markers.end())
        continue;
      all.push_back({name, true, 0});
    }
    for (auto const& [entry, marker] : markers)
      all.push_back({marker->key.substr(root_.size()), true, marker->modified});
    std::ranges::sort(all, {}, &DirectoryEntry::name);
    return all;
  }

  bool is_draft(S3Object const& marker) const {
    return std::string_view(marker.key).substr(root_.size()).starts_with(draft_state);
  }

  /// With what is on its way there, as files that were last changed when their last parts came.
  std::vector<DirectoryEntry> list_folder(std::string const& path) {
    auto const [state, entry] = split(path);
    bool const draft = state == draft_state;
    auto const inner =
        path.find('/') == std::string::npos ? "" : path.substr(path.find('/') + 1) + "/";
    auto const folder = entry.empty() ? root_ + path + "/" : root_ + entry + "/" + inner;
    auto const listing = nxd::list(*client_, folder, "/");
    std::map<std::string, DirectoryEntry> all;
    auto const add = [&](std::string name, bool is_directory, std::int64_t modified) {
      if (draft && name == std::string(draft_state) + manifest_name) name = manifest_name;
      auto& found = all[name];
      found = {name, is_directory, std::max(found.modified, modified)};
    };
    for (auto const& object : listing.objects)
      if (object.key != folder &&
          (draft || !object.key.substr(folder.size()).starts_with(draft_state)))
        add(object.key.substr(folder.size()), false, object.modified);
    for (auto const& inside : listing.folders)
      add(inside.substr(folder.size(), inside.size() - folder.size() - 1), true, no_time);
    if (draft) add_uploads(folder, add);
    std::vector<DirectoryEntry> sorted;
    for (auto& [name, found] : all) sorted.push_back(std::move(found));
    return sorted;
  }

  void add_uploads(std::string const& folder, auto const& add) {
    for (auto const& upload : uploads(*client_, folder)) {
      auto const name = upload.key.substr(folder.size());
      auto const slash = name.find('/');
      if (slash == std::string::npos)
        add(name, false, last_part(*client_, upload));
      else
        add(name.substr(0, slash), true, no_time);
    }
  }

  std::shared_ptr<S3Client> client_;
  std::string root_;
};

static_assert(Storage<S3Storage>);

}  // namespace nxd
