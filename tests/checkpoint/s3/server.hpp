// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>

#include <signal.h>

#include <nxd/checkpoint/json.hpp>
#include <nxd/checkpoint/s3/storage.hpp>

namespace s3 {

inline constexpr char const* access = "AKIDEXAMPLE";
inline constexpr char const* secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// The fault server (server.py), which goes with the object.
class Server {
 public:
  Server() {
    auto const script = std::filesystem::path(__FILE__).parent_path() / "server.py";
    int to[2], from[2];
    if (::pipe2(to, O_CLOEXEC) != 0 || ::pipe2(from, O_CLOEXEC) != 0)
      throw std::runtime_error("no pipe");
    child_ = ::fork();
    if (child_ == 0) {
      ::dup2(to[0], 0);
      ::dup2(from[1], 1);
      ::execlp("python3", "python3", "-B", script.c_str(), static_cast<char*>(nullptr));
      ::_exit(127);
    }
    ::close(to[0]);
    ::close(from[1]);
    input_ = to[1];
    std::string said;
    for (char c; ::read(from[0], &c, 1) == 1 && c != '\n';) said += c;
    ::close(from[0]);
    if (said.empty()) throw std::runtime_error("python3 does not start the server");
    url = "http://127.0.0.1:" + said;
  }
  Server(Server const&) = delete;
  Server& operator=(Server const&) = delete;
  ~Server() {
    ::close(input_);
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
  }

  /// What to do from now on: JSON, see server.py.
  void control(std::string const& wish) {
    auto const answer = http_.send({.method = "POST",
                                    .url = url + "/_control",
                                    .body = nxd::bytes_of(wish),
                                    .limit = std::chrono::seconds(30)});
    if (answer.status != 200) throw std::runtime_error("the server does not understand " + wish);
  }
  void forget() { control("{\"forget\":true}"); }
  /// As it was, with one fault: `{"op":"Put","do":"500"}`.
  void fault(std::string const& fault) { control("{\"faults\":[" + fault + "]}"); }
  void healthy() { control("{}"); }

  nxd::Json state() {
    auto const answer =
        http_.send({.method = "GET", .url = url + "/_state", .limit = std::chrono::seconds(30)});
    return nxd::parse_json(answer.body, "the server's state");
  }
  std::vector<std::string> objects() { return names("objects"); }
  std::vector<std::string> uploads() { return names("uploads"); }
  std::int64_t faults() {
    auto const all = state();
    return std::ssize(nxd::JsonView(all, "")["happened"].array());
  }
  std::int64_t unsigned_requests() {
    auto const all = state();
    return nxd::JsonView(all, "")["unsigned"].count();
  }
  bool has(std::string const& part) {
    return std::ranges::any_of(
        objects(), [&](std::string const& key) { return key.find(part) != std::string::npos; });
  }

  /// Settings of a client that gives up soon.
  nxd::S3Settings settings(std::chrono::milliseconds deadline = std::chrono::seconds(20)) const {
    nxd::S3Settings s{{access, secret}};
    s.endpoint = url;
    s.path_style = true;
    s.patience = {deadline, std::chrono::milliseconds(1), std::chrono::milliseconds(20),
                  std::chrono::seconds(1)};
    s.part_bytes = 1000;
    return s;
  }
  nxd::S3Storage storage(std::chrono::milliseconds deadline = std::chrono::seconds(20)) const {
    return nxd::S3Storage(nxd::s3_place("s3://bucket/runs/a b"), settings(deadline));
  }

  std::string url;

 private:
  std::vector<std::string> names(char const* what) {
    auto const all = state();
    std::vector<std::string> found;
    for (auto const& name : nxd::JsonView(all, "")[what].array())
      found.push_back(nxd::JsonView(name, what).string());
    return found;
  }

  nxd::Http http_;
  int input_ = -1;
  ::pid_t child_ = -1;
};

}  // namespace s3
