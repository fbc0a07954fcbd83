// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <future>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <nxd/checkpoint/s3/objects.hpp>

namespace nxd {

namespace detail {

/// What a server says that it has stored is what was sent, as far as it says it: by its CRC, or by
/// its name for the bytes, which is their MD5 unless it has encrypted them with a key of its own.
inline std::string stored_doubt(HttpResponse const& response, std::span<std::byte const> bytes,
                                std::uint32_t crc, bool md5_was_sent) {
  constexpr char const* sentence = "the server has stored other bytes than those sent (checksum)";
  if (auto const said = response.header("x-amz-checksum-crc32c"); !said.empty())
    return said == base64_of(crc) ? "" : sentence;
  auto name = response.header("etag");
  std::erase(name, '"');
  bool const is_md5 =
      name.size() == 32 && name.find_first_not_of("0123456789abcdef") == std::string::npos;
  bool const own_key = response.header("x-amz-server-side-encryption").starts_with("aws:kms") ||
                       !response.header("x-amz-server-side-encryption-customer-algorithm").empty();
  if (md5_was_sent || !is_md5 || own_key) return {};
  return name == hex_of(md5(bytes)) ? "" : sentence;
}

/// Sends bytes so that the server checks them: by the SHA-256 that is signed, and by a CRC or an
/// MD5. If it seems to have stored others all the same, it gets the MD5 too.
inline HttpResponse put_checked(S3Client& client, S3Call call) {
  auto const crc = crc32c(call.body);
  call.doubt = [](HttpResponse const& response) -> std::string {
    bool const said = response.status != 200 || !response.header("etag").empty();
    return said ? "" : "the server does not say what it has stored";
  };
  bool with_md5 = client.settings().checksum == S3Checksum::md5;
  for (int attempt = 1;; ++attempt) {
    if (with_md5) call.headers["content-md5"] = base64_of(md5(call.body));
    if (client.settings().checksum == S3Checksum::crc32c)
      call.headers["x-amz-checksum-crc32c"] = base64_of(crc);
    auto response = client.answer(call);
    if (response.status != 200) return response;
    auto const doubt = stored_doubt(response, call.body, crc, with_md5);
    if (doubt.empty()) return response;
    if (attempt == 3)
      throw SyncError(client.where(call.key) + ": cannot " + call.what + ": " + doubt +
                      ", three times; check the network and the server");
    with_md5 = true;
  }
}

}  // namespace detail

/// Puts an object where none is. Servers that do not know `If-None-Match` are asked first whether
/// there is one; between two writers in the same moment that decides nothing, and then the last one
/// wins. @throws IoError if there is one and it is not this
inline void put_new(S3Client& client, std::string const& key, std::span<std::byte const> bytes,
                    char const* what = "write") {
  auto const refuse = [&] {
    throw IoError(client.where(key) + ": cannot " + what + ": it exists already");
  };
  if (head(client, key)) refuse();
  S3Call call{.method = "PUT", .key = key, .body = bytes, .expected = {200, 412, 501}};
  call.headers["if-none-match"] = "*";
  call.what = what;
  auto response = detail::put_checked(client, call);
  if (response.status == 501) {
    call.headers.erase("if-none-match");
    call.expected = {200};
    detail::put_checked(client, call);
  } else if (response.status == 412) {  // an answer was lost, or another was faster
    auto const there = get(client, key, std::int64_t{1} << 30);
    if (!std::ranges::equal(bytes_of(there), bytes)) refuse();
  }
}

/// One object in the making: nobody sees it before `finish`. A short one is put at once, a longer
/// one goes in parts, some of them at the same time. What is not finished is aborted at its end.
/// Memory: `parts_at_once` + 1 parts.
class S3Upload {
 public:
  S3Upload(std::shared_ptr<S3Client> client, std::string key)
      : client_(std::move(client)),
        key_(std::move(key)),
        part_bytes_(client_->settings().part_bytes) {}
  S3Upload(S3Upload const&) = delete;
  S3Upload& operator=(S3Upload const&) = delete;
  ~S3Upload() {
    try {
      give_up();
    } catch (...) {  // a later sweep finds it
    }
  }

  /// Makes parts long enough for so many bytes: S3 takes 10 000 of them.
  void expect(std::int64_t bytes) { part_bytes_ = std::max(part_bytes_, bytes / 9000 + 1); }

  void write(std::span<std::byte const> bytes) {
    size_ += std::ssize(bytes);
    while (!bytes.empty()) {
      if (std::ssize(buffer_) == part_bytes_) send();
      if (buffer_.empty()) buffer_.reserve(static_cast<std::size_t>(part_bytes_));
      auto const room = static_cast<std::size_t>(part_bytes_) - buffer_.size();
      auto const some = bytes.first(std::min(room, bytes.size()));
      buffer_.insert(buffer_.end(), some.begin(), some.end());
      bytes = bytes.subspan(some.size());
    }
  }

  /// The object is there, and is what was written: as long, and of the same checksum if the server
  /// says one. @throws SyncError if it is not
  void finish() {
    if (finished_) return;
    if (!begun_) {
      put();
    } else {
      send();
      while (!sending_.empty()) wait();
      complete();
    }
    confirm();
    finished_ = true;
  }

 private:
  struct Part {
    std::string name;  ///< the server's
    std::uint32_t crc = 0;
    bool checked = false;  ///< the server knows CRCs; one that does not may refuse to read of them
  };

  void put() {
    S3Call call{.method = "PUT", .key = key_, .body = buffer_};
    call.what = "write";
    detail::put_checked(*client_, call);
    checksum_ = base64_of(crc32c(buffer_));
  }

  void begin() {
    S3Call call{.method = "POST", .key = key_, .query = {{"uploads", ""}}};
    if (client_->settings().checksum == S3Checksum::crc32c)
      call.headers["x-amz-checksum-algorithm"] = "CRC32C";
    call.what = "begin the upload of";
    begun_ = true;
    upload_ = parse_xml(client_->answer(call).body, client_->where(key_))["UploadId"];
    if (upload_.empty())
      throw IoError(client_->where(key_) + ": cannot begin the upload of: the server names none");
  }

  /// Sends the buffer as the next part, while others are still on their way.
  void send() {
    if (!begun_) begin();
    if (std::ssize(sending_) >= client_->settings().parts_at_once) wait();
    auto const number = ++parts_begun_;
    sending_.push_back(
        std::async(std::launch::async, [this, number, bytes = std::exchange(buffer_, {})] {
          S3Call call{.method = "PUT",
                      .key = key_,
                      .query = {{"partNumber", std::to_string(number)}, {"uploadId", upload_}},
                      .body = bytes};
          call.what = "write a part of";
          auto const response = detail::put_checked(*client_, call);
          return Part{response.header("etag"), crc32c(bytes),
                      !response.header("x-amz-checksum-crc32c").empty()};
        }));
  }

  void wait() {
    auto oldest = std::move(sending_.front());
    sending_.pop_front();
    parts_.push_back(oldest.get());
  }

  std::string parts_text() const {
    std::string text = "<CompleteMultipartUpload>";
    for (std::size_t i = 0; i < parts_.size(); ++i) {
      text += "<Part><PartNumber>" + std::to_string(i + 1) + "</PartNumber><ETag>" +
              xml_escaped(parts_[i].name) + "</ETag>";
      if (parts_[i].checked)
        text += "<ChecksumCRC32C>" + base64_of(parts_[i].crc) + "</ChecksumCRC32C>";
      text += "</Part>";
    }
    return text + "</CompleteMultipartUpload>";
  }

  /// A repeated call whose first answer was lost finds no upload, but the object.
  void complete() {
    auto const body = parts_text();
    S3Call call{.method = "POST",
                .key = key_,
                .query = {{"uploadId", upload_}},
                .body = bytes_of(body),
                .expected = {200, 404}};
    call.what = "complete the upload of";
    call.doubt = [&](HttpResponse const& response) -> std::string {
      if (response.status == 404) return {};
      bool const said = response.body.find("<CompleteMultipartUploadResult") != std::string::npos;
      return said ? "" : "the server does not say that it is complete";
    };
    if (client_->answer(call).status == 404 && !head(*client_, key_))
      throw IoError(client_->where(key_) +
                    ": cannot complete the upload of: HTTP 404 NoSuchUpload; "
                    "somebody has aborted it");
    std::string crcs;
    for (auto const& part : parts_)
      for (int shift = 24; shift >= 0; shift -= 8)
        crcs += static_cast<char>(part.crc >> shift & 255);
    checksum_ = base64_of(crc32c(bytes_of(crcs))) + "-" + std::to_string(parts_.size());
  }

  /// Looks at the object. One that is not there yet is waited for a little.
  void confirm() {
    auto found = head(*client_, key_);
    for (int attempt = 1; !found && attempt <= 8; ++attempt) {
      std::this_thread::sleep_for(detail::pause_before(attempt, client_->settings().patience));
      found = head(*client_, key_);
    }
    if (!found) throw SyncError(client_->where(key_) + ": was written and is not there");
    if (found->size != size_)
      throw SyncError(client_->where(key_) + ": has " + std::to_string(found->size) +
                      " bytes, not the " + std::to_string(size_) + " that were written");
    bool const comparable = (found->checksum.find('-') == std::string::npos) ==
                            (checksum_.find('-') == std::string::npos);
    if (!found->checksum.empty() && comparable && found->checksum != checksum_)
      throw SyncError(client_->where(key_) + ": is not what was written (checksum)");
  }

  /// Nothing of it stays: this upload, and one whose beginning was told of by no answer.
  void give_up() {
    for (auto& part : sending_) part.wait();
    if (!begun_) return;
    constexpr auto hurry = std::chrono::seconds(20);
    if (!finished_ && !upload_.empty()) abort(*client_, {key_, 0, 0, upload_}, hurry);
    for (auto const& other : uploads(*client_, key_, hurry))
      if (other.key == key_) abort(*client_, other, hurry);
  }

  std::shared_ptr<S3Client> client_;
  std::string key_;
  std::int64_t part_bytes_, size_ = 0;
  std::vector<std::byte> buffer_;
  std::string upload_;
  int parts_begun_ = 0;
  std::deque<std::future<Part>> sending_;
  std::vector<Part> parts_;
  std::string checksum_;
  bool begun_ = false, finished_ = false;
};

}  // namespace nxd
