// SPDX-License-Identifier: Apache-2.0
#include <nxd/checkpoint/s3/xml.hpp>

#include "target.hpp"

namespace {

/// Text of an element before its children: another order than it may have had, but the same
/// element.
void write(nxd::XmlElement const& element, std::string& out) {
  out += "<" + element.name + ">" + nxd::xml_escaped(element.text);
  for (auto const& child : element.children) write(child, out);
  out += "</" + element.name + ">";
}

bool same(nxd::XmlElement const& a, nxd::XmlElement const& b) {
  if (a.name != b.name || a.text != b.text || a.children.size() != b.children.size()) return false;
  for (std::size_t i = 0; i < a.children.size(); ++i)
    if (!same(a.children[i], b.children[i])) return false;
  return true;
}

}  // namespace

void fuzz::read(std::string_view input) {
  auto const root = nxd::parse_xml(input, file);
  std::string text;
  write(root, text);
  require(same(root, nxd::parse_xml(text, file)), "an element comes back as it was written");
  (void)root["Key"];
}

std::vector<std::string> fuzz::seeds() {
  return {
      "<?xml version=\"1.0\"?><!-- c --><ListBucketResult xmlns='x'><Contents><Key>a&amp;b&#x20AC;"
      "</Key><Size>12</Size></Contents><CommonPrefixes/><a><![CDATA[<x>]]></a>"
      "<IsTruncated>false</IsTruncated></ListBucketResult>\n",
      "<Error><Code>NoSuchKey</Code><Message>&lt;&gt;&quot;&apos;&#233;&#x1F600;</Message></Error>",
      "<InitiateMultipartUploadResult a=\"b>\" c='/'><UploadId>u</UploadId>"
      "</InitiateMultipartUploadResult >",
      "<a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a></a></a>"};
}

std::vector<std::string> fuzz::words() {
  return {"<?xml",  "?>",     "<!--",       "-->", "<![CDATA[", "]]>", "&amp;",
          "&#x41;", "&#0;",   "&#x10FFFF;", "</",  "/>",        "<a>", "</a>",
          "<Key>",  "</Key>", "<!DOCTYPE",  "='",  "=\""};
}
