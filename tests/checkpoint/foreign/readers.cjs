// SPDX-License-Identifier: Apache-2.0
//
//   NODE_PATH=MODULES node readers.cjs DIRECTORY
//
// prints a line of JSON for each file of DIRECTORY, in the order of their names: what two foreign readers say of it.
// `hub` (@huggingface/hub, by the makers of the format) reads headers; `jax` (@jax-js/loaders) gives the elements too.

const fs = require('fs');
const path = require('path');
const crypto = require('crypto');
const { parseSafetensorsMetadata } = require('@huggingface/hub');
globalThis.Float16Array ??= class Float16Array extends Uint16Array {}; // before Node 24; only bytes are looked at
const loaders = import(path.join(process.env.NODE_PATH, '@jax-js/loaders/dist/index.js')); // require finds it broken

// A server of one file that answers requests for ranges of it.
const serving = (bytes) => async (url, options) => {
  const [first, last] = options.headers.Range.slice('bytes='.length).split('-').map(Number);
  return new Response(bytes.subarray(first, last + 1), {
    status: 206,
    headers: { 'Content-Range': `bytes ${first}-${last}/${bytes.length}`, ETag: '"file"' },
  });
};

async function hub(bytes) {
  const { header: { __metadata__: metadata = {}, ...header } } = await parseSafetensorsMetadata({
    repo: 'some/model', path: 'model.safetensors', hubUrl: 'http://nowhere', fetch: serving(bytes),
  });
  const begin = 8 + Number(bytes.readBigUInt64LE(0));
  const tensors = {};
  for (const [name, { dtype, shape, data_offsets: [from, to] }] of Object.entries(header))
    tensors[name] = [dtype, shape, begin + from, to - from];
  return { tensors, metadata };
}

async function jax(bytes) {
  const copy = new Uint8Array(bytes).buffer; // begins at a multiple of 8, as the elements must
  const { tensors: found, metadata = {} } = (await loaders).safetensors.parse(copy);
  const tensors = {};
  for (const [name, { dtype, shape, data }] of Object.entries(found))
    tensors[name] = [dtype, shape, data.byteOffset, data.byteLength,
      crypto.createHash('sha1').update(new Uint8Array(copy, data.byteOffset, data.byteLength)).digest('hex')];
  return { tensors, metadata };
}

const verdict = (reader, bytes) => reader(bytes).catch((error) => ({ refused: String(error.message) }));

(async () => {
  const directory = process.argv[2];
  for (const name of fs.readdirSync(directory).sort()) {
    const bytes = fs.readFileSync(path.join(directory, name));
    console.log(JSON.stringify({ hub: await verdict(hub, bytes), jax: await verdict(jax, bytes) }));
  }
})();
