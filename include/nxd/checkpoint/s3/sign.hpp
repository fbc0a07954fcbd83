// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ctime>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <nxd/checkpoint/s3/hash.hpp>

namespace nxd {

/// Who asks. Never part of a message.
struct S3Credentials {
  std::string access_key, secret, session_token{};
};

/// A request before it is signed. Nothing in it is percent-encoded yet.
struct S3Request {
  std::string method;
  std::string host;                              ///< with its port, if that is not the usual one
  std::string path;                              ///< "/bucket/key" or "/key"
  std::map<std::string, std::string> query{};    ///< a name without a value has an empty one
  std::map<std::string, std::string> headers{};  ///< by names in lower case
  std::span<std::byte const> body{};
};

/// Which characters stay as they are.
enum class Slashes : std::uint8_t { kept, encoded };

/// Percent-encodes all but letters, digits and "-._~".
inline std::string uri_encode(std::string_view text, Slashes slashes) {
  constexpr std::string_view digits = "0123456789ABCDEF";
  std::string encoded;
  for (unsigned char const c : text) {
    bool const letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    bool const other = (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == '~';
    if (letter || other || (c == '/' && slashes == Slashes::kept)) {
      encoded += static_cast<char>(c);
      continue;
    }
    encoded += '%';
    encoded += digits[c >> 4];
    encoded += digits[c & 15];
  }
  return encoded;
}

/// The query of a request, encoded and in the order that signatures want.
inline std::string encoded_query(std::map<std::string, std::string> const& query) {
  std::map<std::string, std::string> encoded;
  for (auto const& [name, value] : query)
    encoded[uri_encode(name, Slashes::encoded)] = uri_encode(value, Slashes::encoded);
  std::string text;
  for (auto const& [name, value] : encoded) text += (text.empty() ? "" : "&") + name + "=" + value;
  return text;
}

/// "20130524T000000Z"; its first eight characters are the day.
inline std::string amz_date(std::time_t now) {
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  char text[20];
  return {text, std::strftime(text, sizeof text, "%Y%m%dT%H%M%SZ", &utc)};
}

namespace detail {

inline std::string signed_names(std::map<std::string, std::string> const& headers) {
  std::string names;
  for (auto const& [name, value] : headers) names += (names.empty() ? "" : ";") + name;
  return names;
}

}  // namespace detail

/// The text whose digest is signed: of the request with all headers that it will have. The digest
/// of its body is that in `x-amz-content-sha256`.
inline std::string canonical_request(S3Request const& request) {
  auto text = request.method + "\n" + uri_encode(request.path, Slashes::kept) + "\n" +
              encoded_query(request.query) + "\n";
  for (auto const& [name, value] : request.headers) text += name + ":" + value + "\n";
  return text + "\n" + detail::signed_names(request.headers) + "\n" +
         request.headers.at("x-amz-content-sha256");
}

/// The headers of a request, signed with AWS's signature version 4: its own, `host`, the date, the
/// digest of its body, which a server compares with what arrives, and the session's token.
///
/// libcurl can sign too, but which URLs it signs right differs from version to version: queries
/// without values, '=' and ':' in them, their order. A signature of our own is the same with each,
/// and AWS's published examples test it.
inline std::map<std::string, std::string> signed_headers(S3Request request,
                                                         S3Credentials const& credentials,
                                                         std::string const& region,
                                                         std::time_t now) {
  auto const date = amz_date(now);
  auto const scope = date.substr(0, 8) + "/" + region + "/s3/aws4_request";
  request.headers["host"] = request.host;
  request.headers["x-amz-date"] = date;
  request.headers["x-amz-content-sha256"] = hex_of(sha256(request.body));
  if (!credentials.session_token.empty())
    request.headers["x-amz-security-token"] = credentials.session_token;
  auto const to_sign = "AWS4-HMAC-SHA256\n" + date + "\n" + scope + "\n" +
                       hex_of(sha256(bytes_of(canonical_request(request))));
  auto const day = hmac_sha256("AWS4" + credentials.secret, date.substr(0, 8));
  auto const key = hmac_sha256(hmac_sha256(hmac_sha256(day, region), "s3"), "aws4_request");
  auto const authorization = "AWS4-HMAC-SHA256 Credential=" + credentials.access_key + "/" + scope +
                             ",SignedHeaders=" + detail::signed_names(request.headers) +
                             ",Signature=" + hex_of(hmac_sha256(key, to_sign));
  request.headers["authorization"] = authorization;
  return request.headers;
}

}  // namespace nxd
