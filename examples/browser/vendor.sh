#!/bin/sh
# Fetch onnxruntime-web from the npm registry into FOLDER (vendor/ beside this file): the builds for
# processors (WASM) and for graphics cards (WebGPU). Needs npm, tar and openssl.
set -eu
version=1.30.0
sha512=q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==

folder=${1:-$(dirname "$0")/vendor}
fetched=$(mktemp -d)
trap 'rm -rf "$fetched"' EXIT
npm pack --silent --pack-destination "$fetched" "onnxruntime-web@$version" > /dev/null
archive=$fetched/onnxruntime-web-$version.tgz
found=$(openssl dgst -sha512 -binary "$archive" | openssl base64 -A)
if [ "$found" != "$sha512" ]; then
    echo "vendor.sh: onnxruntime-web $version is not the file that was pinned: $found" >&2
    exit 1
fi
mkdir -p "$folder"
tar -xzf "$archive" -C "$folder" --strip-components=2 \
    package/dist/ort.wasm.min.mjs \
    package/dist/ort-wasm-simd-threaded.mjs package/dist/ort-wasm-simd-threaded.wasm \
    package/dist/ort.webgpu.min.mjs \
    package/dist/ort-wasm-simd-threaded.asyncify.mjs \
    package/dist/ort-wasm-simd-threaded.asyncify.wasm
