// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <atomic>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <nxd/checkpoint/storage.hpp>

namespace parts {

/// A file system in memory that promises what POSIX does, and no more: before a file is synced any
/// part of it may be lost, and before a directory is, any of its changes; a rename within it
/// happens or does not. It tells all states in which a power cut may leave it.
class ModelDisk {
 public:
  /// Told of each operation, ahead of it, as "create a/b"; what it throws, the operation throws.
  std::function<void(std::string const&)> before = [](std::string const&) {};
  std::atomic<std::int64_t> clock{1'700'000'000};  ///< what files changed from now on say
  bool syncs_files = true, syncs_directories = true;

  ModelDisk() : nodes_(1) { nodes_[0].is_directory = true; }
  /// A disk with the same on it, and nobody told.
  ModelDisk(ModelDisk const& other)
      : clock(other.clock.load()),
        syncs_files(other.syncs_files),
        syncs_directories(other.syncs_directories),
        nodes_(other.nodes()) {}
  ModelDisk& operator=(ModelDisk const&) = delete;

  /// All that is on it.
  std::string text() const {
    std::lock_guard const lock(mutex_);
    return text_of(0);
  }

  /// The power fails: what is not safe is lost or not, by chance.
  void lose_power(std::mt19937& random) {
    auto const all = choices();
    std::vector<std::size_t> taken;
    for (auto const& c : all) taken.push_back(random() % c.options);
    nodes_ = cut(all, taken).nodes_;
  }

  /// A bit of a file is another one from now on.
  void flip(std::string const& path, std::size_t byte) {
    auto& node = at(find(path));
    auto& bit = node.bytes[byte % node.bytes.size()];
    bit = static_cast<char>(bit ^ 4);
    node.safe = node.bytes;
  }

  /// Calls `use(disk)` for what a power cut now may leave: for every state, or for `most` of them
  /// taken by chance if there are more.
  template <class Use> void for_each_cut(std::size_t most, Use&& use) const {
    ModelDisk const now(*this);
    auto const choices = now.choices();
    double all = 1;
    for (auto const& c : choices) all *= static_cast<double>(c.options);
    bool const each = all <= static_cast<double>(most);
    auto const count = each ? static_cast<std::size_t>(all) : most;
    std::mt19937 random(static_cast<unsigned>(choices.size()));
    for (std::size_t i = 0; i < count; ++i) {
      std::vector<std::size_t> taken;
      auto rest = i;
      for (auto const& c : choices) {
        taken.push_back((each ? rest : random()) % c.options);
        rest /= c.options;
      }
      use(now.cut(choices, taken));
    }
  }

 private:
  friend class ModelStorage;
  using Id = std::size_t;

  /// One change of a directory: a name that goes, a name that comes, or both at once.
  struct Change {
    std::string gone, come;
    Id node = 0;
  };
  struct Node {
    bool is_directory = false;
    std::int64_t modified = 0;
    std::string bytes, safe;  ///< of a file: as it is, and as it was synced
    std::map<std::string, Id> names, safe_names;
    std::vector<Change> unsafe;
  };
  /// A file of which some may be lost, or a change of a directory.
  struct Choice {
    Id node;
    std::size_t change, options;
  };

  std::vector<Node> nodes() const {
    std::lock_guard const lock(mutex_);
    return nodes_;
  }
  Node& at(Id id) { return nodes_[id]; }

  std::string text_of(Id id, std::string const& path = "") const {
    if (!nodes_[id].is_directory) return path + "=" + nodes_[id].bytes + "\n";
    auto all = path + "/\n";
    for (auto const& [name, inner] : nodes_[id].names) all += text_of(inner, path + "/" + name);
    return all;
  }

  Id find(std::string const& path) const {
    Id id = 0;
    for (std::size_t from = 0; from < path.size();) {
      auto const slash = std::min(path.find('/', from), path.size());
      auto const found = nodes_[id].names.find(path.substr(from, slash - from));
      if (found == nodes_[id].names.end()) throw nxd::NotThere(path + ": No such file");
      id = found->second;
      from = slash + 1;
    }
    return id;
  }
  static std::pair<std::string, std::string> split(std::string const& path) {
    auto const slash = path.rfind('/');
    if (slash == std::string::npos) return {"", path};
    return {path.substr(0, slash), path.substr(slash + 1)};
  }
  void change(Id directory, Change const& c) {
    apply(c, at(directory).names);
    at(directory).unsafe.push_back(c);
    at(directory).modified = clock;
  }
  static void apply(Change const& c, std::map<std::string, Id>& names) {
    names.erase(c.gone);
    if (!c.come.empty()) names[c.come] = c.node;
  }
  Id make(std::string const& path, bool is_directory) {
    auto const [parent, name] = split(path);
    auto const directory = find(parent);
    if (at(directory).names.contains(name)) throw nxd::IoError(path + ": File exists");
    nodes_.push_back({is_directory, clock, {}, {}, {}, {}, {}});
    change(directory, {"", name, nodes_.size() - 1});
    return nodes_.size() - 1;
  }

  /// What may be left of a file: nothing new, its size alone, half of it, all of it.
  static std::vector<std::string> remains(Node const& file) {
    auto sized = file.bytes, half = file.bytes;
    auto const safe = std::min(file.safe.size(), sized.size());
    std::fill(sized.begin() + static_cast<std::ptrdiff_t>(safe), sized.end(), '\0');
    auto const kept = safe + (sized.size() - safe) / 2;
    std::fill(half.begin() + static_cast<std::ptrdiff_t>(kept), half.end(), '\0');
    std::set<std::string> const all{file.safe, sized, half, file.bytes};
    return {all.begin(), all.end()};
  }

  void reach(Id id, std::set<Id>& reached) const {
    if (!reached.insert(id).second) return;
    for (auto const* names : {&nodes_[id].names, &nodes_[id].safe_names})
      for (auto const& [name, inner] : *names) reach(inner, reached);
    for (auto const& c : nodes_[id].unsafe)
      if (c.node != 0) reach(c.node, reached);
  }
  std::vector<Choice> choices() const {
    std::set<Id> reached;
    reach(0, reached);
    std::vector<Choice> all;
    for (auto const id : reached) {
      for (std::size_t i = 0; i < nodes_[id].unsafe.size(); ++i) all.push_back({id, i, 2});
      if (nodes_[id].bytes != nodes_[id].safe) all.push_back({id, 0, remains(nodes_[id]).size()});
    }
    return all;
  }
  ModelDisk cut(std::vector<Choice> const& choices, std::vector<std::size_t> const& taken) const {
    ModelDisk left(*this);
    for (auto& node : left.nodes_) node.names = node.safe_names;
    for (std::size_t i = 0; i < choices.size(); ++i) {
      auto& node = left.nodes_[choices[i].node];
      if (!node.is_directory)
        node.bytes = remains(nodes_[choices[i].node])[taken[i]];
      else if (taken[i] == 1)
        apply(node.unsafe[choices[i].change], node.names);
    }
    for (auto& node : left.nodes_) {
      node.safe = node.bytes;
      node.safe_names = node.names;
      node.unsafe.clear();
    }
    return left;
  }

  mutable std::mutex mutex_;
  std::vector<Node> nodes_;  ///< the first is the root
};

/// Checkpoints on a `ModelDisk`. Ranks that are threads may share it.
class ModelStorage {
 public:
  class File {
   public:
    File(ModelDisk& disk, std::size_t node, std::string path)
        : disk_(&disk), node_(node), path_(std::move(path)) {}

    void reserve(std::int64_t n) {
      disk_->before("reserve " + path_);
      std::lock_guard const lock(disk_->mutex_);
      auto& bytes = disk_->at(node_).bytes;
      bytes.resize(std::max(bytes.size(), static_cast<std::size_t>(n)));
    }
    void write(std::span<std::byte const> from) {
      disk_->before("write " + path_);
      std::lock_guard const lock(disk_->mutex_);
      auto& bytes = disk_->at(node_).bytes;
      bytes.resize(std::max(bytes.size(), end_ + from.size()));
      std::memcpy(bytes.data() + end_, from.data(), from.size());
      end_ += from.size();
      disk_->at(node_).modified = disk_->clock;
    }
    void sync() {
      disk_->before("sync " + path_);
      std::lock_guard const lock(disk_->mutex_);
      if (disk_->syncs_files) disk_->at(node_).safe = disk_->at(node_).bytes;
    }
    void close() { disk_->before("close " + path_); }
    std::int64_t size() const {
      std::lock_guard const lock(disk_->mutex_);
      return std::ssize(disk_->at(node_).bytes);
    }
    void read(std::int64_t offset, std::span<std::byte> to) const {
      std::lock_guard const lock(disk_->mutex_);
      auto const& bytes = disk_->at(node_).bytes;
      if (offset + std::ssize(to) > std::ssize(bytes))
        throw nxd::CorruptInput(path_ + ": ends too early");
      std::memcpy(to.data(), bytes.data() + offset, to.size());
    }

   private:
    ModelDisk* disk_;
    std::size_t node_, end_ = 0;
    std::string path_;
  };

  explicit ModelStorage(ModelDisk& disk) : disk_(disk) {}

  void make_root() {}
  File create(std::string const& path) {
    disk_.before("create " + path);
    std::lock_guard const lock(disk_.mutex_);
    return {disk_, disk_.make(path, false), path};
  }
  File open(std::string const& path) {
    disk_.before("open " + path);
    std::lock_guard const lock(disk_.mutex_);
    return {disk_, disk_.find(path), path};
  }
  void make_directory(std::string const& path) {
    disk_.before("mkdir " + path);
    std::lock_guard const lock(disk_.mutex_);
    disk_.make(path, true);
  }
  std::vector<nxd::DirectoryEntry> list(std::string const& path) {
    std::lock_guard const lock(disk_.mutex_);
    std::vector<nxd::DirectoryEntry> all;
    for (auto const& [name, id] : disk_.at(disk_.find(path)).names)
      all.push_back({name, disk_.at(id).is_directory, disk_.at(id).modified});
    return all;
  }
  void rename(std::string const& from, std::string const& to) {
    disk_.before("rename " + from);
    std::lock_guard const lock(disk_.mutex_);
    auto const [parent, old_name] = ModelDisk::split(from);
    auto const [same, new_name] = ModelDisk::split(to);
    auto const directory = disk_.find(parent), node = disk_.find(from);
    if (parent != same || disk_.at(directory).names.contains(new_name))
      throw nxd::IoError(to + ": File exists");
    disk_.change(directory, {old_name, new_name, node});
  }
  void sync_directory(std::string const& path) {
    disk_.before("syncdir " + path);
    std::lock_guard const lock(disk_.mutex_);
    if (!disk_.syncs_directories) return;
    auto& node = disk_.at(disk_.find(path));
    node.safe_names = node.names;
    node.unsafe.clear();
  }
  void remove(std::string const& path) {
    disk_.before("remove " + path);
    std::vector<std::string> inner;
    {
      std::lock_guard const lock(disk_.mutex_);
      for (auto const& [name, id] : disk_.at(disk_.find(path)).names) inner.push_back(name);
    }
    for (auto const& name : inner) remove(path + "/" + name);
    std::lock_guard const lock(disk_.mutex_);
    auto const [parent, name] = ModelDisk::split(path);
    disk_.find(path);
    disk_.change(disk_.find(parent), {name, "", 0});
  }
  std::int64_t free_bytes() { return std::int64_t{1} << 40; }
  std::string where(std::string const& path) const { return "disk/" + path; }

 private:
  ModelDisk& disk_;
};

static_assert(nxd::Storage<ModelStorage>);

}  // namespace parts
