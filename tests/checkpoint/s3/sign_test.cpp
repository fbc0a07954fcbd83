// SPDX-License-Identifier: Apache-2.0
#include <filesystem>
#include <fstream>
#include <random>

#include <doctest/doctest.h>

#include <nxd/checkpoint/s3/settings.hpp>
#include <nxd/checkpoint/s3/sign.hpp>
#include <nxd/checkpoint/s3/xml.hpp>

namespace {

/// The signature of a request of AWS's documentation.
std::string signature(nxd::S3Request request) {
  request.host = "examplebucket.s3.amazonaws.com";
  auto const headers = nxd::signed_headers(
      request, {"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}, "us-east-1",
      1369353600);
  auto const& text = headers.at("authorization");
  return text.substr(text.find("Signature=") + 10);
}

TEST_CASE("the requests that AWS publishes get the signatures that AWS publishes") {
  CHECK(signature({.method = "GET",
                   .host = "",
                   .path = "/test.txt",
                   .headers = {{"range", "bytes=0-9"}}}) ==
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
  CHECK(signature({.method = "PUT",
                   .host = "",
                   .path = "/test$file.text",
                   .headers = {{"date", "Fri, 24 May 2013 00:00:00 GMT"},
                               {"x-amz-storage-class", "REDUCED_REDUNDANCY"}},
                   .body = nxd::bytes_of("Welcome to Amazon S3.")}) ==
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
  CHECK(signature({.method = "GET", .host = "", .path = "/", .query = {{"lifecycle", ""}}}) ==
        "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
  CHECK(signature({.method = "GET",
                   .host = "",
                   .path = "/",
                   .query = {{"prefix", "J"}, {"max-keys", "2"}}}) ==
        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
}

TEST_CASE("texts are encoded as signatures want it, and queries stand in their order") {
  CHECK(nxd::uri_encode("a b+c=/\xc3\xa9~", nxd::Slashes::kept) == "a%20b%2Bc%3D/%C3%A9~");
  CHECK(nxd::uri_encode("a/b", nxd::Slashes::encoded) == "a%2Fb");
  CHECK(nxd::encoded_query({{"uploads", ""}, {"prefix", "a/b c"}}) == "prefix=a%2Fb%20c&uploads=");
  CHECK(nxd::base64_of(0xe3069283u) == "4waSgw==");  // of "123456789"
}

TEST_CASE("what S3 servers answer is read; what they do not send is refused") {
  auto const root = nxd::parse_xml(
      "<?xml version='1.0'?>\n<!-- a --><List xmlns=\"x>y\"><Contents a='1'><Key>a&amp;b&#x41;&#233;"
      "</Key></Contents><Empty/><Cut>false</Cut></List>\n",
      "here");
  CHECK(root.name == "List");
  CHECK(root.children.at(0)["Key"] == "a&bA\xc3\xa9");
  CHECK(root["Cut"] == "false");
  CHECK(root["absent"].empty());
  std::string deep;
  for (int i = 0; i < 100000; ++i) deep += "<a>";
  for (std::string const bad : {"", "text", "<a>", "<a></b>", "<a", "<a/><b/>", "<!DOCTYPE a><a/>",
                                "<a>&b;</a>", "<a>&#0;</a>", "<a>&#x110000;</a>", "<a>&amp</a>",
                                "<a b='</a>", "<a></a b>", "< a/>", deep.c_str()})
    CHECK_THROWS_AS(nxd::parse_xml(bad, "here"), nxd::CorruptInput);
}

TEST_CASE("an answer with a few bytes changed is read or refused, and nothing else") {
  std::string const whole =
      "<?xml version=\"1.0\"?><ListBucketResult xmlns='x'><!-- c --><Contents><Key>a&amp;b&#x20;c"
      "</Key><Size>12</Size></Contents><CommonPrefixes/><a><![CDATA[<x>]]></a></ListBucketResult>";
  std::minstd_rand random(7);
  int read = 0;
  for (int i = 0; i < 100000; ++i) {
    auto text = whole;
    for (auto n = random() % 4; n-- > 0;)
      text[random() % text.size()] = "<>/&;#x!-[]'\"= a\0"[random() % 18];
    if (random() % 4 == 0) text.resize(random() % text.size());
    try {
      read += !nxd::parse_xml(text, "here").name.empty();
    } catch (nxd::CorruptInput const&) {
    }
  }
  CHECK(read > 1000);
}

TEST_CASE("a place in a bucket has a bucket and a plain prefix") {
  CHECK(nxd::s3_place("s3://bucket").prefix.empty());
  CHECK(nxd::s3_place("s3://bucket/").prefix.empty());
  CHECK(nxd::s3_place("s3://my.bucket-1//a//b c/").prefix == "a/b c");
  for (auto const* bad :
       {"s3://", "s3:///a", "s3://Ab1/x", "s3://ab/x", "s3://bucket/../x", "bucket/x"})
    CHECK_THROWS_AS(nxd::s3_place(bad), nxd::ConfigError);
}

/// Variables of the environment that are set while this lives.
struct Environment {
  explicit Environment(std::map<std::string, std::string> const& values) {
    for (auto const* name :
         {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE",
          "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3",
          "AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE", "NXD_S3_DEADLINE"})
      ::unsetenv(name);
    for (auto const& [name, value] : values) ::setenv(name.c_str(), value.c_str(), 1);
  }
};

TEST_CASE("credentials, region and endpoint come from the environment, then from AWS's files") {
  std::string name = std::filesystem::temp_directory_path() / "nxd-s3-XXXXXX";
  std::filesystem::path const home = ::mkdtemp(name.data());
  std::filesystem::create_directory(home / ".aws");
  std::ofstream(home / ".aws/credentials")
      << "# keys\n[default]\naws_access_key_id = A\naws_secret_access_key=S=/+\n\n[ other ]\n"
         "aws_access_key_id=B\naws_secret_access_key=T\naws_session_token = long=\n";
  std::ofstream(home / ".aws/config")
      << "[default]\nregion = eu-west-1\n[profile other]\nregion=us-west-2\n"
         "endpoint_url = https://store:9000/\ns3 =\n  addressing_style = path\n";
  Environment({{"HOME", home}});
  auto settings = nxd::s3_settings();
  CHECK(settings.credentials.access_key == "A");
  CHECK(settings.credentials.secret == "S=/+");
  CHECK(settings.region == "eu-west-1");
  CHECK_FALSE(settings.path_style);
  Environment({{"HOME", home}, {"AWS_PROFILE", "other"}});
  settings = nxd::s3_settings();
  CHECK(settings.credentials.session_token == "long=");
  CHECK(settings.region == "us-west-2");
  CHECK(settings.endpoint == "https://store:9000");
  CHECK(settings.path_style);
  Environment({{"HOME", home},
               {"AWS_ACCESS_KEY_ID", "E"},
               {"AWS_SECRET_ACCESS_KEY", "F"},
               {"AWS_DEFAULT_REGION", "x"},
               {"AWS_REGION", "y"},
               {"AWS_ENDPOINT_URL", "http://a"},
               {"AWS_ENDPOINT_URL_S3", "http://b"}});
  settings = nxd::s3_settings();
  CHECK(settings.credentials.access_key == "E");
  CHECK(settings.credentials.session_token.empty());
  CHECK(settings.region == "y");
  CHECK(settings.endpoint == "http://b");
  Environment({{"HOME", home}, {"AWS_PROFILE", "nobody"}});
  CHECK_THROWS_WITH_AS(nxd::s3_settings(), doctest::Contains("[nobody]"), nxd::ConfigError);
  Environment({{"HOME", home}, {"AWS_ENDPOINT_URL", "store:9000"}});
  CHECK_THROWS_AS(nxd::s3_settings(), nxd::ConfigError);
  Environment({{"HOME", home}, {"NXD_S3_DEADLINE", "soon"}});
  CHECK_THROWS_WITH_AS(nxd::s3_settings(), doctest::Contains("NXD_S3_DEADLINE=soon"),
                       nxd::ConfigError);
  std::filesystem::remove_all(home);
}

}  // namespace
