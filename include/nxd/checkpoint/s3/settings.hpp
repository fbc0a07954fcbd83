// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>

#include <nxd/checkpoint/s3/sign.hpp>
#include <nxd/core/error.hpp>

namespace nxd {

/// How patient a request is.
struct S3Patience {
  std::chrono::milliseconds deadline{300'000};  ///< for a request with all its repetitions
  std::chrono::milliseconds first_pause{100};   ///< the bound of the first; each next one's doubles
  std::chrono::milliseconds longest_pause{20'000};
  std::chrono::seconds stall{30};  ///< slower than 1 KiB/s for so long: tried again
};

/// What a server is asked to compare with the bytes that it stores, beyond their signed SHA-256.
enum class S3Checksum : std::uint8_t {
  crc32c,  ///< x-amz-checksum-crc32c
  md5,     ///< Content-MD5, for servers that refuse the other
};

/// Where S3 is, and who asks.
struct S3Settings {
  S3Credentials credentials;
  std::string region = "us-east-1";
  std::string endpoint{};   ///< "https://host:port"; empty: AWS
  bool path_style = false;  ///< "host/bucket/key", not "bucket.host/key"
  S3Patience patience{};
  std::int64_t part_bytes = std::int64_t{8} << 20;  ///< S3 wants 5 MiB at least
  int parts_at_once = 3;
  S3Checksum checksum = S3Checksum::crc32c;
};

/// A bucket, and what the keys in it begin with: "" or without a '/' at either end.
struct S3Place {
  std::string bucket;
  std::string prefix{};
};

inline constexpr std::string_view s3_scheme = "s3://";

/// The name of a place is one in a bucket.
inline bool is_s3(std::string_view place) { return place.starts_with(s3_scheme); }

/// "s3://bucket/prefix". @throws ConfigError if it names no bucket
inline S3Place s3_place(std::string_view text) {
  auto rest = text.substr(is_s3(text) ? s3_scheme.size() : 0);
  auto const slash = std::min(rest.find('/'), rest.size());
  S3Place place{std::string(rest.substr(0, slash))};
  for (auto from = slash; from < rest.size();) {
    auto const end = std::min(rest.find('/', from + 1), rest.size());
    auto const name = rest.substr(from + 1, end - from - 1);
    if (name == "." || name == "..")
      throw ConfigError(std::string(text) + ": '.' and '..' mean nothing in a bucket");
    if (!name.empty()) place.prefix += (place.prefix.empty() ? "" : "/") + std::string(name);
    from = end;
  }
  bool const plain = std::ranges::all_of(place.bucket, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-';
  });
  if (!is_s3(text) || place.bucket.size() < 3 || place.bucket.size() > 63 || !plain)
    throw ConfigError(std::string(text) +
                      ": names no bucket; write s3://BUCKET/PREFIX, with 3 to 63 small letters, "
                      "digits, '-' or '.' for BUCKET");
  return place;
}

namespace detail {

/// A variable of the environment; nothing if it is empty.
inline std::optional<std::string> variable(char const* name) {
  auto const* const value = std::getenv(name);
  if (value == nullptr || *value == 0) return {};
  return value;
}

/// The keys of one section of a file as AWS's tools write it.
inline std::map<std::string, std::string> ini_section(std::istream& in, std::string_view wanted) {
  std::map<std::string, std::string> keys;
  bool inside = false;
  auto const trimmed = [](std::string const& text) {
    auto const from = text.find_first_not_of(" \t\r");
    if (from == std::string::npos) return std::string();
    return text.substr(from, text.find_last_not_of(" \t\r") - from + 1);
  };
  for (std::string line; std::getline(in, line);) {
    bool const nested = line.starts_with(' ') || line.starts_with('\t');
    line = trimmed(line);
    if (line.empty() || line[0] == '#' || line[0] == ';') continue;
    if (line[0] == '[') {
      inside = trimmed(line.substr(1, line.find(']') - 1)) == wanted;
      continue;
    }
    auto const equals = line.find('=');
    if (inside && !nested && equals != std::string::npos)
      keys[trimmed(line.substr(0, equals))] = trimmed(line.substr(equals + 1));
  }
  return keys;
}

/// One of AWS's files: where `named_by` says, or in the home directory.
inline std::map<std::string, std::string> aws_file(char const* named_by, char const* usual,
                                                   std::string const& section) {
  auto path = variable(named_by);
  if (!path) path = variable("HOME").value_or("") + "/.aws/" + usual;
  std::ifstream in(*path);
  return ini_section(in, section);
}

inline std::string value_or(std::map<std::string, std::string> const& keys, std::string const& key,
                            std::string const& otherwise) {
  auto const found = keys.find(key);
  return found == keys.end() ? otherwise : found->second;
}

/// Where a wrong value of the environment is named.
inline std::int64_t count_variable(char const* name, std::int64_t otherwise, std::int64_t least) {
  auto const text = variable(name);
  if (!text) return otherwise;
  std::istringstream in(*text);
  std::int64_t value = 0;
  if (!(in >> value) || !in.eof() || value < least)
    throw ConfigError(std::string(name) + "=" + *text + ": must be a whole number, at least " +
                      std::to_string(least));
  return value;
}

inline std::string profile() {
  if (auto const name = variable("AWS_PROFILE")) return *name;
  return "default";
}

inline std::map<std::string, std::string> aws_config() {
  auto const name = profile();
  return aws_file("AWS_CONFIG_FILE", "config", name == "default" ? name : "profile " + name);
}

}  // namespace detail

/// Credentials: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or the section
/// AWS_PROFILE ("default") of AWS_SHARED_CREDENTIALS_FILE (~/.aws/credentials) or of
/// AWS_CONFIG_FILE. @throws ConfigError if none of them has any
inline S3Credentials s3_credentials() {
  using detail::variable;
  auto const key = variable("AWS_ACCESS_KEY_ID"), secret = variable("AWS_SECRET_ACCESS_KEY");
  if (key && secret) return {*key, *secret, variable("AWS_SESSION_TOKEN").value_or("")};
  for (auto const& keys :
       {detail::aws_file("AWS_SHARED_CREDENTIALS_FILE", "credentials", detail::profile()),
        detail::aws_config()}) {
    S3Credentials const found{detail::value_or(keys, "aws_access_key_id", ""),
                              detail::value_or(keys, "aws_secret_access_key", ""),
                              detail::value_or(keys, "aws_session_token", "")};
    if (!found.access_key.empty() && !found.secret.empty()) return found;
  }
  throw ConfigError("s3: no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or " +
                    ("write them under [" + detail::profile() + "] in ~/.aws/credentials"));
}

/// What environment and files say: credentials; AWS_REGION, AWS_DEFAULT_REGION, or `region`;
/// AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, or `endpoint_url`; NXD_S3_ADDRESSING, `path` (which is
/// usual for an endpoint of one's own) or `virtual`; AWS_REQUEST_CHECKSUM_CALCULATION, where
/// `when_required` means MD5; NXD_S3_DEADLINE, in seconds; NXD_S3_PART_MIB; NXD_S3_PARTS, those of
/// a file that are under way at once. @throws ConfigError
inline S3Settings s3_settings() {
  using detail::variable;
  S3Settings settings{s3_credentials()};
  auto const config = detail::aws_config();
  settings.region = detail::value_or(config, "region", settings.region);
  settings.endpoint = detail::value_or(config, "endpoint_url", "");
  for (auto const* name : {"AWS_DEFAULT_REGION", "AWS_REGION"})
    if (auto const region = variable(name)) settings.region = *region;
  for (auto const* name : {"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"})
    if (auto const url = variable(name)) settings.endpoint = *url;
  while (settings.endpoint.ends_with('/')) settings.endpoint.pop_back();
  auto const& url = settings.endpoint;
  if (!url.empty() && !url.starts_with("http://") && !url.starts_with("https://"))
    throw ConfigError("AWS_ENDPOINT_URL=" + url + ": must begin with https:// or http://");
  auto const addressing = variable("NXD_S3_ADDRESSING").value_or(url.empty() ? "virtual" : "path");
  if (addressing != "path" && addressing != "virtual")
    throw ConfigError("NXD_S3_ADDRESSING=" + addressing + ": must be path or virtual");
  settings.path_style = addressing == "path";
  if (variable("AWS_REQUEST_CHECKSUM_CALCULATION").value_or("") == "when_required")
    settings.checksum = S3Checksum::md5;
  settings.patience.deadline =
      std::chrono::seconds(detail::count_variable("NXD_S3_DEADLINE", 300, 1));
  settings.part_bytes = detail::count_variable("NXD_S3_PART_MIB", 8, 5) << 20;
  settings.parts_at_once = static_cast<int>(detail::count_variable("NXD_S3_PARTS", 3, 1));
  return settings;
}

}  // namespace nxd
