// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <curl/curl.h>

#include <nxd/core/error.hpp>

namespace nxd {

/// A request as it goes over the wire.
struct HttpRequest {
  std::string method;
  std::string url;
  std::vector<std::string> headers{};       ///< "name: value"
  std::span<std::byte const> body{};        ///< stays valid until the answer is there
  std::chrono::milliseconds limit{};        ///< for all of it
  std::chrono::seconds stall{30};           ///< slower than 1 KiB/s for so long: given up
  std::size_t most = std::size_t{1} << 26;  ///< bytes of an answer; a longer one is a failure
};

/// What came back. There was no answer, or not all of it, if `failure` says why.
struct HttpResponse {
  long status = 0;
  std::map<std::string, std::string, std::less<>> headers{};  ///< by names in lower case
  std::string body{};
  std::string failure{};

  /// A header's value, or nothing.
  std::string header(std::string_view name) const {
    auto const found = headers.find(name);
    return found == headers.end() ? std::string() : found->second;
  }
};

namespace detail {

/// libcurl is set up once in a process, and stays.
inline void start_curl() {
  static CURLcode const started = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (started != CURLE_OK)
    throw Error(ExitCode::internal,
                std::string("libcurl does not start: ") + curl_easy_strerror(started));
}

struct CurlClosed {
  void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
using CurlHandle = std::unique_ptr<CURL, CurlClosed>;
using CurlHeaders = std::unique_ptr<curl_slist, CurlClosed>;

/// Where an answer is put while it comes.
struct Receiving {
  HttpResponse* response;
  std::size_t most;
};

inline std::size_t receive_body(char* bytes, std::size_t one, std::size_t count, void* to) {
  auto& receiving = *static_cast<Receiving*>(to);
  auto& body = receiving.response->body;
  if (one * count > receiving.most - std::min(receiving.most, body.size())) return 0;
  body.append(bytes, one * count);
  return one * count;
}

inline std::size_t receive_header(char* bytes, std::size_t one, std::size_t count, void* to) {
  std::string_view line(bytes, one * count);
  auto const trim = [](std::string_view text) {
    auto const from = text.find_first_not_of(" \t\r\n");
    if (from == std::string_view::npos) return std::string_view();
    return text.substr(from, text.find_last_not_of(" \t\r\n") - from + 1);
  };
  if (auto const colon = line.find(':'); colon != std::string_view::npos) {
    std::string name(trim(line.substr(0, colon)));
    for (auto& c : name)
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    static_cast<Receiving*>(to)->response->headers[name] = trim(line.substr(colon + 1));
  }
  return one * count;
}

inline void set(CURL* handle, CURLoption option, auto value) {
  if (auto const code = curl_easy_setopt(handle, option, value); code != CURLE_OK)
    throw Error(ExitCode::internal,
                std::string("libcurl refuses an option: ") + curl_easy_strerror(code));
}

inline void set_method(CURL* handle, HttpRequest const& request) {
  if (request.method == "HEAD") return set(handle, CURLOPT_NOBODY, 1L);
  if (request.method == "PUT" || request.method == "POST") {
    set(handle, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
    set(handle, CURLOPT_POSTFIELDS,
        request.body.empty() ? "" : reinterpret_cast<char const*>(request.body.data()));
  }
  set(handle, CURLOPT_CUSTOMREQUEST, request.method.c_str());
}

inline void set_limits(CURL* handle, HttpRequest const& request) {
  auto const limit = std::max<std::int64_t>(request.limit.count(), 1);
  set(handle, CURLOPT_NOSIGNAL, 1L);
  set(handle, CURLOPT_TIMEOUT_MS, static_cast<long>(limit));
  set(handle, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(std::min<std::int64_t>(limit, 15000)));
  set(handle, CURLOPT_LOW_SPEED_LIMIT, 1024L);
  set(handle, CURLOPT_LOW_SPEED_TIME, static_cast<long>(request.stall.count()));
  set(handle, CURLOPT_TCP_KEEPALIVE, 1L);
  set(handle, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  set(handle, CURLOPT_PROTOCOLS_STR, "http,https");
  set(handle, CURLOPT_PATH_AS_IS, 1L);
  if (auto const* const bundle = std::getenv("AWS_CA_BUNDLE"); bundle != nullptr && *bundle != 0)
    set(handle, CURLOPT_CAINFO, bundle);
}

}  // namespace detail

/// Sends requests over connections that stay open between them. Threads may share it. Redirections
/// are not followed; certificates are checked.
class Http {
 public:
  Http() { detail::start_curl(); }

  /// Sends a request and waits for the answer. What goes wrong on the way is in the answer.
  HttpResponse send(HttpRequest const& request) {
    auto handle = take();
    HttpResponse response;
    detail::Receiving receiving{&response, request.most};
    std::array<char, CURL_ERROR_SIZE> reason{};
    auto const headers = list(request.headers);
    detail::set_method(handle.get(), request);
    detail::set_limits(handle.get(), request);
    detail::set(handle.get(), CURLOPT_URL, request.url.c_str());
    detail::set(handle.get(), CURLOPT_HTTPHEADER, headers.get());
    detail::set(handle.get(), CURLOPT_ERRORBUFFER, reason.data());
    detail::set(handle.get(), CURLOPT_WRITEFUNCTION, &detail::receive_body);
    detail::set(handle.get(), CURLOPT_WRITEDATA, static_cast<void*>(&receiving));
    detail::set(handle.get(), CURLOPT_HEADERFUNCTION, &detail::receive_header);
    detail::set(handle.get(), CURLOPT_HEADERDATA, static_cast<void*>(&receiving));
    auto const code = curl_easy_perform(handle.get());
    curl_easy_getinfo(handle.get(), CURLINFO_RESPONSE_CODE, &response.status);
    if (code != CURLE_OK)
      response.failure = reason[0] != 0 ? reason.data() : curl_easy_strerror(code);
    if (code == CURLE_WRITE_ERROR) response.failure = "the answer is longer than it may be";
    if (code == CURLE_OK) keep(std::move(handle));
    return response;
  }

 private:
  /// Without what libcurl would add: a body's type, and a wait for leave to send it.
  static detail::CurlHeaders list(std::vector<std::string> const& headers) {
    detail::CurlHeaders all;
    auto const append = [&](char const* line) {
      auto* const longer = curl_slist_append(all.get(), line);
      if (longer == nullptr) throw std::bad_alloc();
      static_cast<void>(all.release());
      all.reset(longer);
    };
    append("Expect:");
    append("Content-Type: application/octet-stream");
    for (auto const& header : headers) append(header.c_str());
    return all;
  }

  detail::CurlHandle take() {
    {
      std::lock_guard const lock(mutex_);
      if (!idle_.empty()) {
        auto handle = std::move(idle_.back());
        idle_.pop_back();
        curl_easy_reset(handle.get());
        return handle;
      }
    }
    detail::CurlHandle handle(curl_easy_init());
    if (!handle) throw Error(ExitCode::internal, "libcurl gives no handle");
    return handle;
  }

  void keep(detail::CurlHandle handle) {
    std::lock_guard const lock(mutex_);
    idle_.push_back(std::move(handle));
  }

  std::mutex mutex_;
  std::vector<detail::CurlHandle> idle_;
};

}  // namespace nxd
