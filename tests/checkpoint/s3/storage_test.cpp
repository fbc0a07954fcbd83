// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <nxd/checkpoint/inspect.hpp>
#include <nxd/checkpoint/load.hpp>
#include <nxd/checkpoint/retention.hpp>
#include <nxd/checkpoint/rewrite.hpp>
#include <nxd/checkpoint/s3/storage.hpp>
#include <nxd/checkpoint/save.hpp>

#include "checkpoint/parts.hpp"
#include "server.hpp"

namespace {

using parts::Split;

s3::Server& server() {
  static s3::Server one;
  return one;
}

std::string read_all(nxd::S3Storage& storage, std::string const& path) {
  return nxd::detail::read_text(storage, path, 1 << 20);
}

void write_all(nxd::S3Storage& storage, std::string const& path, std::string const& text) {
  auto file = storage.create(path);
  file.reserve(std::ssize(text));
  file.write(nxd::bytes_of(text));
  file.sync();
  file.close();
}

nxd::SaveResult saved(nxd::S3Storage& storage, std::int64_t step, int salt, bool finite = true) {
  nxd::Single comm;
  auto const held = parts::filled(Split::rows, 0, 1, salt);
  auto request = parts::request(held, step);
  request.info.health.finite = finite;
  return nxd::save(comm, storage, request);
}

bool loads(nxd::S3Storage& storage, std::string const& entry, int salt) {
  nxd::Single comm;
  auto held = parts::empty(Split::columns, 0, 1);
  nxd::load(comm, storage, entry, held.pieces);
  return parts::holds(held, Split::columns, 0, 1, salt);
}

std::vector<std::string> names(nxd::S3Storage& storage, std::string const& path) {
  std::vector<std::string> all;
  for (auto const& found : storage.list(path)) all.push_back(found.name);
  return all;
}

TEST_CASE("files of all lengths come back as they were written, by ranges too") {
  server().forget();
  auto storage = server().storage();
  for (std::size_t const size : {0u, 1u, 999u, 1000u, 1001u, 2000u, 9500u}) {
    std::string text;
    for (std::size_t i = 0; i < size; ++i) text += static_cast<char>('a' + i * 7 % 26);
    auto const name = "file " + std::to_string(size) + " + = \xc3\xa9&<>'%";
    write_all(storage, name, text);
    CHECK(read_all(storage, name) == text);
    auto file = storage.open(name);
    CHECK(file.size() == std::ssize(text));
    std::string part(size / 3, ' ');
    file.read(static_cast<std::int64_t>(size / 2), std::as_writable_bytes(std::span(part)));
    CHECK(part == text.substr(size / 2, size / 3));
    std::string more(size + 1, ' ');
    CHECK_THROWS_AS(file.read(0, std::as_writable_bytes(std::span(more))), nxd::CorruptInput);
    CHECK_THROWS_AS(storage.create(name), nxd::IoError);
  }
  CHECK(server().uploads().empty());
  CHECK(server().unsigned_requests() == 0);
  CHECK_THROWS_AS(storage.open("absent"), nxd::NotThere);
  {
    auto given_up = storage.create("half");
    given_up.write(nxd::bytes_of(std::string(5000, 'x')));
  }
  CHECK(server().uploads().empty());
  CHECK_FALSE(server().has("half"));
}

TEST_CASE("lists have all pages") {
  server().forget();
  server().control(R"({"page":2})");
  auto storage = server().storage();
  for (auto const* name : {"a", "b", "c", "d", "e"}) write_all(storage, name, name);
  for (auto const* name : {"a", "b", "c"}) write_all(storage, std::string("f/") + name, name);
  CHECK(names(storage, "") == std::vector<std::string>{"a", "b", "c", "d", "e", "f"});
  CHECK(names(storage, "f") == std::vector<std::string>{"a", "b", "c"});
  server().healthy();
}

TEST_CASE("what is saved in any layout loads in any other, and survives what becomes of entries") {
  for (auto const* server_is :
       {R"({"page":3})", R"({"condition":"ignored"})",
        R"({"condition":"refused","checksums":"ignored","many":"refused"})"}) {
    CAPTURE(server_is);
    server().forget();
    server().control(server_is);
    std::string entry;
    nxd::Threads::run(3, [&](auto comm) {
      auto storage = server().storage();
      auto const held = parts::filled(Split::flat, comm.rank(), 3, 1);
      auto const result = nxd::save(comm, storage, parts::request(held, 7));
      if (comm.rank() == 0) entry = result.entry;
    });
    auto storage = server().storage();
    CHECK(loads(storage, entry, 1));
    CHECK(names(storage, "") == std::vector<std::string>{"LATEST", "RUN.json", entry});
    CHECK(nxd::verify(storage, entry).unlisted.empty());
    auto const second = saved(storage, 8, 2).entry, third = saved(storage, 9, 3).entry;
    auto const sick = saved(storage, 10, 4, false).entry;
    CHECK(sick == ".diag-step-000000000010.g000004");
    CHECK(nxd::entries(storage) == std::vector<std::string>{third, second, entry});
    CHECK(read_all(storage, sick + "/" + nxd::manifest_name).size() > 100);
    CHECK(nxd::prune(storage, {.newest = 2}) == std::vector<std::string>{entry});
    CHECK_FALSE(server().has(entry));
    CHECK(loads(storage, second, 2));
    auto const all = nxd::survey(storage);
    CHECK(all.size() == 3);
    CHECK(all.front().newest);
    CHECK(all.front().modified > 1'700'000'000);
  }
}

TEST_CASE("an entry that is broken is put aside where it is, and the one before it loads") {
  server().forget();
  auto storage = server().storage();
  auto const first = saved(storage, 1, 1).entry, second = saved(storage, 2, 2).entry;
  auto const shard = second + "/model/00000.safetensors";
  auto text = read_all(storage, shard);
  text[text.size() / 2] ^= 1;
  storage.remove(shard);
  write_all(storage, shard, text);
  nxd::Single comm;
  auto held = parts::empty(Split::rows, 0, 1);
  auto const loaded = nxd::resume(comm, storage, held.pieces);
  REQUIRE(loaded);
  CHECK(loaded->entry == first);
  CHECK(loaded->skipped.at(0).find("s3://bucket/runs/a b/" + shard) == 0);
  CHECK(nxd::entries(storage) == std::vector<std::string>{first});
  CHECK(read_all(storage, ".bad-" + second + "/REASON.txt").find("CRC") != std::string::npos);
  CHECK(read_all(storage, ".bad-" + shard) == text);
  CHECK(nxd::survey(storage).size() == 2);
  CHECK(saved(storage, 3, 3).generation == 3);
}

TEST_CASE("a copy of a bucket, object by object, is a directory of checkpoints") {
  server().forget();
  auto storage = server().storage();
  auto const entry = saved(storage, 4, 4).entry;
  parts::Folder folder;
  nxd::S3Client client("bucket", server().settings());
  std::string const root = "runs/a b/";
  for (auto const& object : nxd::list(client, root, "").objects) {
    std::filesystem::path const to = folder / object.key.substr(root.size());
    std::filesystem::create_directories(to.parent_path());
    parts::write_file(to, nxd::get(client, object.key, 1 << 20));
  }
  nxd::PosixStorage copy(folder.path);
  CHECK(nxd::verify(copy, entry).unlisted.empty());
  nxd::Single comm;
  auto held = parts::empty(Split::columns, 0, 1);
  REQUIRE(nxd::resume(comm, copy, held.pieces));
  CHECK(parts::holds(held, Split::columns, 0, 1, 4));
}

TEST_CASE("two saves of one entry: the second ends with a sentence, and the first is committed") {
  for (auto const* server_is : {"{}", R"({"condition":"ignored"})"}) {
    server().forget();
    server().control(server_is);
    auto storage = server().storage();
    storage.make_directory(".tmp-step-000000000001.g000001");
    CHECK_THROWS_WITH_AS(storage.make_directory(".tmp-step-000000000001.g000001"),
                         doctest::Contains("exists already"), nxd::IoError);
    CHECK(saved(storage, 1, 1).generation == 2);
  }
}

TEST_CASE("drafts of jobs that died are swept after an hour, with their uploads, and not before") {
  server().forget();
  server().control(R"({"age":2000})");
  auto const begin = [] {
    auto storage = server().storage();
    storage.make_directory(".tmp-step-000000000005.g000005");
    write_all(storage, ".tmp-step-000000000005.g000005/optim/00000.safetensors", "x");
    auto client = std::make_shared<nxd::S3Client>("bucket", server().settings());
    auto const text = client->answer({.method = "POST",
                                      .key = "runs/a b/step-000000000005.g000005/model/0",
                                      .query = {{"uploads", ""}}});
    return nxd::parse_xml(text.body, "")["UploadId"];
  };
  begin();
  server().healthy();
  auto storage = server().storage();
  CHECK(nxd::sweep(storage, nxd::clock_of(storage, "1")).empty());
  CHECK(server().uploads().size() == 1);
  server().forget();
  server().control(R"({"age":7300})");
  auto const upload = begin();
  server().healthy();
  // A part came a moment ago: its save is alive.
  auto client = std::make_shared<nxd::S3Client>("bucket", server().settings());
  client->answer({.method = "PUT",
                  .key = "runs/a b/step-000000000005.g000005/model/0",
                  .query = {{"partNumber", "1"}, {"uploadId", upload}},
                  .body = nxd::bytes_of("part")});
  CHECK(nxd::sweep(storage, nxd::clock_of(storage, "2")).empty());
  server().forget();
  server().control(R"({"age":7300})");
  begin();
  server().healthy();
  CHECK(saved(storage, 6, 1).generation == 6);
  CHECK(server().uploads().empty());
  CHECK_FALSE(server().has("step-000000000005"));
  CHECK(loads(storage, nxd::entries(storage).at(0), 1));
}

TEST_CASE(
    "a commit whose marker has stayed is a commit; a draft with a draft of a manifest is none") {
  server().forget();
  auto storage = server().storage();
  auto const entry = saved(storage, 1, 1).entry;
  write_all(storage, ".tmp-" + entry, "stayed");
  CHECK(nxd::entries(storage) == std::vector<std::string>{entry});
  CHECK(nxd::left_behind(storage, 1LL << 40).empty());
  auto const draft = std::string(".tmp-step-000000000002.g000002");
  storage.make_directory(draft);
  write_all(storage, draft + "/MANIFEST.json", "{}");
  CHECK(nxd::entries(storage) == std::vector<std::string>{entry});
  CHECK(names(storage, draft) == std::vector<std::string>{"MANIFEST.json"});
  CHECK_THROWS_AS(storage.open("step-000000000002.g000002/MANIFEST.json"), nxd::NotThere);
}

TEST_CASE("refusals are one sentence with key, status, the server's word and what to do") {
  server().forget();
  auto const refused = [](nxd::S3Settings settings, std::string const& place) -> std::string {
    try {
      nxd::S3Storage(nxd::s3_place(place), settings).make_root();
    } catch (nxd::IoError const& e) {
      return e.what();
    }
    return {};
  };
  auto settings = server().settings(std::chrono::milliseconds(300));
  CHECK(refused(settings, "s3://nobody/x") ==
        "s3://nobody: cannot list: HTTP 404 NoSuchBucket; make the bucket, or correct its name");
  settings.credentials.secret = "wrong";
  CHECK(refused(settings, "s3://bucket/x") ==
        "s3://bucket: cannot list: HTTP 403 SignatureDoesNotMatch; check AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY, or the profile in ~/.aws/credentials");
  settings = server().settings(std::chrono::milliseconds(300));
  server().fault(R"({"op":"List","do":"301"})");
  CHECK(
      refused(settings, "s3://bucket/x") ==
      "s3://bucket: cannot list: HTTP 301 PermanentRedirect; the bucket is in another region; set "
      "AWS_REGION=eu-central-1");
  server().fault(R"({"op":"List","do":"307","times":100})");
  CHECK(refused(settings, "s3://bucket/x").find("HTTP 307") != std::string::npos);
  server().fault(R"({"op":"List","do":"403"})");
  CHECK(refused(settings, "s3://bucket/x").find("HTTP 403 AccessDenied; these") !=
        std::string::npos);
  CHECK(server().faults() == 1);  // not tried again
  server().fault(R"({"op":"List","do":"503","times":1000})");
  auto const begin = std::chrono::steady_clock::now();
  auto const busy = refused(settings, "s3://bucket/x");
  CHECK(busy.find("HTTP 503 SlowDown; given up after ") != std::string::npos);
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(5));
  CHECK(server().faults() > 3);
  server().fault(R"({"op":"List","do":"reset","times":1000})");
  CHECK(refused(settings, "s3://bucket/x").find("check the network and AWS_ENDPOINT_URL") !=
        std::string::npos);
  server().healthy();
  settings.endpoint = "http://127.0.0.1:1";
  CHECK(refused(settings, "s3://bucket/x").find("given up after") != std::string::npos);
}

TEST_CASE("a session that has ended is looked up again, once") {
  server().forget();
  server().control(R"({"token":"new"})");
  auto settings = server().settings();
  settings.credentials.session_token = "old";
  ::setenv("AWS_ACCESS_KEY_ID", s3::access, 1);
  ::setenv("AWS_SECRET_ACCESS_KEY", s3::secret, 1);
  ::setenv("AWS_SESSION_TOKEN", "old", 1);
  nxd::S3Storage storage({"bucket", "x"}, settings);
  CHECK_THROWS_WITH_AS(storage.make_root(), doctest::Contains("HTTP 400 ExpiredToken; the session"),
                       nxd::IoError);
  ::setenv("AWS_SESSION_TOKEN", "new", 1);
  CHECK_NOTHROW(storage.make_root());
  server().healthy();
}

TEST_CASE("a server without checksums of its own gets MD5, and one that refuses them is usable") {
  server().forget();
  server().control(R"({"checksums":"refused"})");
  auto settings = server().settings();
  settings.checksum = nxd::S3Checksum::md5;
  nxd::S3Storage storage({"bucket", "x"}, settings);
  auto const entry = saved(storage, 1, 5).entry;
  CHECK(loads(storage, entry, 5));
  server().healthy();
}

}  // namespace
