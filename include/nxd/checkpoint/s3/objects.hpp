// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nxd/checkpoint/crc32c.hpp>
#include <nxd/checkpoint/s3/client.hpp>

namespace nxd {

/// What a bucket says of an object, or of an upload that is under way.
struct S3Object {
  std::string key;
  std::int64_t size = 0;
  std::int64_t modified = 0;  ///< seconds, by the server's clock
  std::string upload{};       ///< the id of an upload
  std::string checksum{};     ///< x-amz-checksum-crc32c, if the server says it
};

/// What is under a prefix.
struct S3Listing {
  std::vector<S3Object> objects{};
  std::vector<std::string> folders{};  ///< prefixes of keys that go on; they end with '/'
};

namespace detail {

/// Seconds since 1970 of "2026-01-02T03:04:05.678Z"; 0 if it is no time.
inline std::int64_t seconds_of(std::string const& iso) {
  int year, month, day, hour, minute, second;
  if (std::sscanf(iso.c_str(), "%4d-%2d-%2dT%2d:%2d:%2d", &year, &month, &day, &hour, &minute,
                  &second) != 6)
    return 0;
  std::chrono::year_month_day const date{std::chrono::year(year),
                                         std::chrono::month(static_cast<unsigned>(month)),
                                         std::chrono::day(static_cast<unsigned>(day))};
  if (!date.ok()) return 0;
  return std::chrono::sys_days(date).time_since_epoch().count() * 86400LL + hour * 3600 +
         minute * 60 + second;
}

/// A size in an answer; -1 if it is none.
inline std::int64_t size_in(std::string const& text) {
  std::int64_t value = 0;
  if (text.empty() || text.size() > 18) return -1;
  for (char const c : text) {
    if (c < '0' || c > '9') return -1;
    value = value * 10 + (c - '0');
  }
  return value;
}

/// The pages of a listing whose answers are called `name`. `next(root, query)` writes into a query
/// what asks for the page after one, and returns it.
template <class Use, class Next>
void each_page(S3Client& client, char const* name, S3Call call, Use&& use, Next&& next) {
  call.doubt = [&](HttpResponse const& response) -> std::string {
    bool const said = response.body.find(std::string("<") + name) != std::string::npos;
    return said || response.status != 200 ? "" : "the server answers with something else";
  };
  for (std::string seen;;) {
    auto const response = client.answer(call);
    if (response.status != 200) return;
    auto const root = parse_xml(response.body, client.where(""));
    use(root);
    if (root["IsTruncated"] != "true") return;
    auto const marker = next(root, call.query);
    if (marker.empty() || marker == seen)
      throw IoError(client.where("") + ": the server's list of objects does not go on");
    seen = marker;
  }
}

}  // namespace detail

/// Whether an object is there, and its size and time.
inline std::optional<S3Object> head(S3Client& client, std::string const& key) {
  S3Call call{.method = "HEAD", .key = key, .expected = {200, 404}};
  if (client.settings().checksum == S3Checksum::crc32c)
    call.headers["x-amz-checksum-mode"] = "ENABLED";
  call.what = "look at";
  call.doubt = [](HttpResponse const& response) -> std::string {
    if (response.status == 404 || (detail::size_in(response.header("content-length")) >= 0 &&
                                   !response.header("etag").empty()))
      return {};
    return "the server does not say what it is";
  };
  auto const response = client.answer(call);
  if (response.status == 404) return {};
  return S3Object{key, detail::size_in(response.header("content-length")), 0, "",
                  response.header("x-amz-checksum-crc32c")};
}

/// Fills `to` with the bytes of an object from `offset` on. @throws CorruptInput if it ends before
inline void get(S3Client& client, std::string const& key, std::int64_t offset,
                std::span<std::byte> to) {
  if (to.empty()) return;
  auto const last = offset + std::ssize(to) - 1;
  S3Call call{.method = "GET", .key = key, .expected = {206, 416}};
  call.headers["range"] = "bytes=" + std::to_string(offset) + "-" + std::to_string(last);
  call.most = std::max<std::size_t>(to.size(), 1 << 16);
  auto const begins = "bytes " + std::to_string(offset) + "-";
  call.doubt = [&](HttpResponse const& response) -> std::string {
    if (response.status == 416) return {};
    if (response.header("content-range").starts_with(begins) &&
        (response.body.size() == to.size() ||
         !response.header("content-range").starts_with(begins + std::to_string(last) + "/")))
      return {};
    return "the server has sent other bytes than those asked for";
  };
  auto const response = client.answer(call);
  if (response.status == 416 || response.body.size() != to.size())
    throw CorruptInput(client.where(key) + ": ends before byte " + std::to_string(last + 1) +
                       ", too early");
  std::ranges::copy(std::as_bytes(std::span(response.body)), to.begin());
}

/// A whole object of at most `most` bytes. @throws NotThere if there is none
inline std::string get(S3Client& client, std::string const& key, std::int64_t most) {
  S3Call call{.method = "GET", .key = key, .expected = {206, 416}};
  call.headers["range"] = "bytes=0-" + std::to_string(most - 1);
  call.most = static_cast<std::size_t>(std::max<std::int64_t>(most, 1 << 16));
  auto const total = [](HttpResponse const& response) {
    auto const range = response.header("content-range");
    return detail::size_in(range.substr(range.find('/') + 1));
  };
  call.doubt = [&](HttpResponse const& response) -> std::string {
    if (response.status == 416 || total(response) > most ||
        total(response) == std::ssize(response.body))
      return {};
    return "the server has sent a part of it";
  };
  auto response = client.answer(call);
  if (response.status == 416) return {};  // it is empty
  if (total(response) > most)
    throw CorruptInput(client.where(key) + ": has " + std::to_string(total(response)) +
                       " bytes, more than the " + std::to_string(most) + " allowed");
  return std::move(response.body);
}

/// What is under a prefix; with a delimiter, what is right under it. Cost: a request for each 1000.
inline S3Listing list(S3Client& client, std::string const& prefix, std::string const& delimiter) {
  S3Listing found;
  S3Call call{.method = "GET", .query = {{"list-type", "2"}, {"prefix", prefix}}};
  if (!delimiter.empty()) call.query["delimiter"] = delimiter;
  call.what = "list";
  detail::each_page(
      client, "ListBucketResult", call,
      [&](XmlElement const& root) {
        for (auto const& child : root.children) {
          if (child.name == "CommonPrefixes") found.folders.push_back(child["Prefix"]);
          if (child.name != "Contents") continue;
          found.objects.push_back({child["Key"], detail::size_in(child["Size"]),
                                   detail::seconds_of(child["LastModified"])});
        }
      },
      [](XmlElement const& root, auto& query) {
        return query["continuation-token"] = root["NextContinuationToken"];
      });
  return found;
}

/// Removes an object; that there is none is no error.
inline void remove(S3Client& client, std::string const& key) {
  S3Call call{.method = "DELETE", .key = key, .expected = {200, 204, 404}};
  call.what = "remove";
  client.answer(call);
}

/// Removes many objects, a thousand with one request where the server can do that.
inline void remove(S3Client& client, std::vector<std::string> const& keys) {
  constexpr std::size_t most = 1000;
  for (std::size_t from = 0; from < keys.size(); from += most) {
    auto const until = std::min(keys.size(), from + most);
    std::string body = "<Delete><Quiet>true</Quiet>";
    for (auto i = from; i < until; ++i)
      body += "<Object><Key>" + xml_escaped(keys[i]) + "</Key></Object>";
    body += "</Delete>";
    S3Call call{.method = "POST",
                .query = {{"delete", ""}},
                .body = bytes_of(body),
                .expected = {200, 400, 404, 405, 501}};
    call.headers["content-md5"] = base64_of(md5(bytes_of(body)));
    call.what = "remove";
    auto const response = client.answer(call);
    bool left = response.status != 200;
    if (!left)
      for (auto const& child : parse_xml(response.body, client.where("")).children)
        left = left || child.name == "Error";
    if (left)
      for (auto i = from; i < until; ++i) remove(client, keys[i]);
  }
}

/// The uploads under a prefix that nobody has completed; none where a server cannot tell.
inline std::vector<S3Object> uploads(S3Client& client, std::string const& prefix,
                                     std::chrono::milliseconds deadline = {}) {
  std::vector<S3Object> found;
  S3Call call{.method = "GET",
              .query = {{"uploads", ""}, {"prefix", prefix}},
              .expected = {200, 404, 405, 501}};
  call.what = "list the uploads under";
  call.deadline = deadline;
  detail::each_page(
      client, "ListMultipartUploadsResult", call,
      [&](XmlElement const& root) {
        for (auto const& child : root.children)
          if (child.name == "Upload" && child["Key"].starts_with(prefix))
            found.push_back(
                {child["Key"], 0, detail::seconds_of(child["Initiated"]), child["UploadId"]});
      },
      [](XmlElement const& root, auto& query) {
        query["key-marker"] = root["NextKeyMarker"];
        query["upload-id-marker"] = root["NextUploadIdMarker"];
        return root["NextKeyMarker"] + " " + root["NextUploadIdMarker"];
      });
  return found;
}

/// When the last part of an upload came. Cost: a request for each 1000 parts.
inline std::int64_t last_part(S3Client& client, S3Object const& upload) {
  auto newest = upload.modified;
  S3Call call{.method = "GET",
              .key = upload.key,
              .query = {{"uploadId", upload.upload}},
              .expected = {200, 404}};
  call.what = "list the parts of";
  detail::each_page(
      client, "ListPartsResult", call,
      [&](XmlElement const& root) {
        for (auto const& child : root.children)
          if (child.name == "Part")
            newest = std::max(newest, detail::seconds_of(child["LastModified"]));
      },
      [](XmlElement const& root, auto& query) {
        return query["part-number-marker"] = root["NextPartNumberMarker"];
      });
  return newest;
}

/// Ends an upload and removes its parts; that there is none is no error.
inline void abort(S3Client& client, S3Object const& upload,
                  std::chrono::milliseconds deadline = {}) {
  S3Call call{.method = "DELETE",
              .key = upload.key,
              .query = {{"uploadId", upload.upload}},
              .expected = {200, 204, 404}};
  call.what = "abort the upload of";
  call.deadline = deadline;
  client.answer(call);
}

}  // namespace nxd
