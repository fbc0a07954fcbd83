// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <ctime>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <nxd/checkpoint/s3/http.hpp>
#include <nxd/checkpoint/s3/settings.hpp>
#include <nxd/checkpoint/s3/sign.hpp>
#include <nxd/checkpoint/s3/xml.hpp>
#include <nxd/checkpoint/storage.hpp>

namespace nxd {

/// One thing that is asked of a bucket.
struct S3Call {
  std::string method;
  std::string key{};  ///< empty: the bucket itself
  std::map<std::string, std::string> query{};
  std::map<std::string, std::string> headers{};
  std::span<std::byte const> body{};
  char const* what = "read";                ///< as in "cannot read"
  std::vector<long> expected{200};          ///< answers that the caller looks at
  std::size_t most = std::size_t{1} << 26;  ///< bytes of an answer
  std::chrono::milliseconds deadline{};     ///< if it is to be shorter than the usual one
  /// What is wrong with an answer that looks well; empty if it is well. Such a call is repeated.
  std::function<std::string(HttpResponse const&)> doubt{};
};

/// A request that an S3 server refused, or did not answer in time.
struct S3Refusal : IoError {
  long status;
  std::string code;  ///< the server's word

  S3Refusal(std::string const& sentence, long s, std::string c)
      : IoError(sentence), status(s), code(std::move(c)) {}
};

namespace detail {

/// The `Code` of an error; empty if the body is none.
inline std::string s3_error_code(HttpResponse const& response) {
  if (response.body.find("<Error") == std::string::npos) return {};
  try {
    auto const root = parse_xml(response.body, "");
    return root.name == "Error" ? root["Code"] : "";
  } catch (Error const&) {
    return {};
  }
}

/// What a user can do about an error.
inline std::string s3_mend(long status, std::string const& code, HttpResponse const& response) {
  auto const one_of = [&](auto... words) { return ((code == words) || ...); };
  if (one_of("NoSuchBucket")) return "make the bucket, or correct its name";
  if (one_of("InvalidAccessKeyId", "SignatureDoesNotMatch"))
    return "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile in "
           "~/.aws/credentials";
  if (one_of("ExpiredToken", "TokenRefreshRequired", "InvalidToken"))
    return "the session has ended; get new credentials";
  if (one_of("RequestTimeTooSkewed")) return "set the clock of this machine";
  if (one_of("PermanentRedirect", "AuthorizationHeaderMalformed",
             "IllegalLocationConstraintException") ||
      status == 301 || status == 307) {
    auto const region = response.header("x-amz-bucket-region");
    return "the bucket is in another region; set AWS_REGION" + (region.empty() ? "" : "=" + region);
  }
  if (status == 403) return "these credentials may not; allow it for them, or use others";
  if (status == 404) return "check the name";
  if (status == 0) return "check the network and AWS_ENDPOINT_URL";
  if (status == 501)
    return "the server cannot do that; AWS_REQUEST_CHECKSUM_CALCULATION=when_required asks less of "
           "it";
  if (status >= 500 || status == 429) return "try again later";
  return "see what the server's log says of it";
}

/// Whether the same call may succeed later.
inline bool is_passing(long status, std::string const& code) {
  for (auto const* word : {"RequestTimeout", "InternalError", "SlowDown", "ServiceUnavailable",
                           "OperationAborted", "ConditionalRequestConflict"})
    if (code == word) return true;
  return status == 500 || status == 502 || status == 503 || status == 504 || status == 408 ||
         status == 429;
}

/// A pause up to a bound that doubles with each attempt: random, so that ranks do not come back
/// together.
inline std::chrono::milliseconds pause_before(int attempt, S3Patience const& patience) {
  thread_local std::minstd_rand random(std::random_device{}());
  auto bound = patience.first_pause;
  for (int i = 1; i < attempt && bound < patience.longest_pause; ++i) bound *= 2;
  bound = std::min(bound, patience.longest_pause);
  return std::chrono::milliseconds(
      std::uniform_int_distribution<std::int64_t>(0, bound.count())(random));
}

}  // namespace detail

/// A bucket, over signed requests. What passes is waited for: servers that are busy or broken,
/// connections that end early or stand still, with pauses that grow, until a deadline for the whole
/// call. What does not pass ends at once. Threads may share it.
class S3Client {
 public:
  S3Client(std::string bucket, S3Settings settings)
      : bucket_(std::move(bucket)),
        settings_(std::move(settings)),
        path_style_(settings_.path_style || bucket_.find('.') != std::string::npos) {
    if (settings_.endpoint.empty())
      settings_.endpoint = "https://s3." + settings_.region + ".amazonaws.com";
    auto const scheme = settings_.endpoint.find("//") + 2;
    host_ = settings_.endpoint.substr(scheme);
    if (!path_style_) host_ = bucket_ + "." + host_;
    origin_ = settings_.endpoint.substr(0, scheme) + host_;
  }

  S3Settings const& settings() const { return settings_; }

  /// "s3://bucket/key".
  std::string where(std::string const& key) const {
    return "s3://" + bucket_ + (key.empty() ? "" : "/" + key);
  }

  /// The answer to a call: one of those that it expects. @throws NotThere for a 404 that it does
  /// not expect, S3Refusal naming key, status, the server's code and what to do
  HttpResponse answer(S3Call const& call) {
    using clock = std::chrono::steady_clock;
    auto const begin = clock::now();
    auto const spent = [&] {
      return std::chrono::duration_cast<std::chrono::milliseconds>(clock::now() - begin);
    };
    auto deadline = settings_.patience.deadline;
    if (call.deadline.count() > 0) deadline = std::min(deadline, call.deadline);
    bool renewed = false;
    std::optional<HttpResponse> told;  // the last attempt may be cut short before it has an answer
    for (int attempt = 1;; ++attempt) {
      auto response = once(call, deadline - spent());
      auto const code = detail::s3_error_code(response);
      auto trouble = response.failure;
      if (trouble.empty() && is_expected(call, response, code)) {
        trouble = call.doubt ? call.doubt(response) : "";
        if (trouble.empty()) return response;
      } else if (trouble.empty() && !detail::is_passing(response.status, code)) {
        if (code == "ExpiredToken" && !std::exchange(renewed, true) && renew()) continue;
        refuse(call, response, code, "");
      }
      if (trouble.empty()) told = response;
      auto const pause = detail::pause_before(attempt, settings_.patience);
      if (spent() + pause < deadline) {
        std::this_thread::sleep_for(pause);
        continue;
      }
      auto const ending = "; given up after " + std::to_string(attempt) + " attempts in " +
                          std::to_string(std::max<std::int64_t>(spent().count(), 1)) + " ms";
      if (told && (trouble.empty() || !response.failure.empty()))
        refuse(call, *told, detail::s3_error_code(*told), "", ending);
      refuse(call, response, code, trouble, ending);
    }
  }

 private:
  /// A call may be refused although its status is 200: then an error is in its body.
  static bool is_expected(S3Call const& call, HttpResponse const& response,
                          std::string const& code) {
    if (response.status == 200 && !code.empty() && call.method != "GET") return false;
    return std::ranges::find(call.expected, response.status) != call.expected.end();
  }

  HttpResponse once(S3Call const& call, std::chrono::milliseconds left) {
    S3Request request{call.method, host_, "/", call.query, call.headers, call.body};
    if (path_style_) request.path += bucket_ + (call.key.empty() ? "" : "/");
    request.path += call.key;
    auto url = origin_ + uri_encode(request.path, Slashes::kept);
    if (!call.query.empty()) url += "?" + encoded_query(call.query);
    HttpRequest http{.method = call.method, .url = url, .body = call.body};
    for (auto const& [name, value] :
         signed_headers(request, credentials(), settings_.region, std::time(nullptr)))
      http.headers.push_back(name + ": " + value);
    http.limit = left;
    http.stall = settings_.patience.stall;
    http.most = call.most;
    return http_.send(http);
  }

  S3Credentials credentials() {
    std::lock_guard const lock(mutex_);
    return settings_.credentials;
  }

  /// Reads the credentials again. @return whether they are others
  bool renew() {
    try {
      auto const found = s3_credentials();
      std::lock_guard const lock(mutex_);
      bool const others = found.session_token != settings_.credentials.session_token ||
                          found.secret != settings_.credentials.secret;
      settings_.credentials = found;
      return others;
    } catch (ConfigError const&) {
      return false;
    }
  }

  [[noreturn]] void refuse(S3Call const& call, HttpResponse const& response,
                           std::string const& code, std::string const& trouble,
                           std::string const& ending = "") const {
    auto const status = trouble.empty() ? response.status : 0;
    auto sentence = where(call.key) + ": cannot " + call.what + ": ";
    if (trouble.empty())
      sentence += "HTTP " + std::to_string(status) + (code.empty() ? "" : " " + code);
    else
      sentence += trouble;
    sentence += ending + "; " + detail::s3_mend(status, code, response);
    if (status == 404 && code != "NoSuchBucket") throw NotThere(sentence);
    throw S3Refusal(sentence, status, code);
  }

  std::string bucket_;
  S3Settings settings_;
  bool path_style_;
  std::string host_, origin_;
  Http http_;
  std::mutex mutex_;
};

}  // namespace nxd
