// Prompt to picture from exported graphs, as `flux1 generate --runtime onnx` does it: the same
// schedule, solver and roundings, so the same seed is the same picture.

import { standardNormal } from "./noise.js";
import { Words } from "./words.js";

const float32 = Math.fround;
const COMPONENTS = ["bert", "transformer", "vae"];
const EXPORT = "flux1 export onnx --model flux-mini-schnell --out model";
const DATA = "backbone.onnx_data"; // large weights, beside their graph
const BUILDS = { wasm: "ort.wasm.min.mjs", webgpu: "ort.webgpu.min.mjs" };

export class Pipeline {
  /** Open a folder of graphs. `provider` is wasm or webgpu; `told` hears of bytes: (done, all). */
  static async open(folder, provider, told) {
    const answer = await fetch(`${folder}/model_index.json`);
    if (!answer.ok) throw new Error(`model: ${folder}/ has no model_index.json; make it: ${EXPORT}`);
    const index = (await answer.json()).flux1;
    if (!index?.components?.bert)
      throw new Error(`model: ${folder}/ is none that this page reads; make one: ${EXPORT}`);
    const ort = await runtime(provider);
    const made = new Pipeline();
    made.ort = ort;
    made.index = index;
    made.variant = index.variant;

    const beside = (graph) => graph.replace(/[^/]+$/, DATA);
    const graphs = COMPONENTS.map((name) => index.components[name]);
    const sizes = graphs.map((file) => index.files[file] + (index.files[beside(file)] ?? 0));
    const all = sizes.reduce((sum, size) => sum + size);
    let done = 0;
    const bytes = (file) =>
      download(`${folder}/${file}`, index.files[file], (more) => told((done += more), all));
    const tokenizer = await fetch(`${folder}/${index.tokenizers.bert}`);
    made.words = new Words(await tokenizer.json(), made.variant.text.max_tokens);
    for (const name of COMPONENTS) {
      const graph = index.components[name], data = beside(graph);
      const options = { executionProviders: [provider], logSeverityLevel: 3 }; // errors
      const model = await bytes(graph);
      if (data in index.files) options.externalData = [{ path: DATA, data: await bytes(data) }];
      made[name] = await ort.InferenceSession.create(model, options);
    }
    return made;
  }

  /** Draw. `told` hears of each step: (done, all). Returns an ImageData and what was not read. */
  async draw({ prompt, seed, steps, width, height }, told) {
    const { variant } = this, channels = variant.autoencoder.latent_channels;
    const side = 2 ** variant.autoencoder.channel_mult.length; // pixels of a token
    const rows = height / side, columns = width / side, tokens = rows * columns;
    const { words, dropped } = await this.encode(prompt);
    const text = words.encoder_hidden_states.dims[1];
    let x = pack(standardNormal(seed, channels * 4 * tokens), channels, rows, columns);
    const fixed = {
      ...words,
      img_ids: this.numbers(positions(rows, columns), [tokens, 3]),
      txt_ids: this.numbers(new Float32Array(3 * text), [text, 3]),
    };
    if (variant.transformer.guidance_embed)
      fixed.guidance = this.numbers(Float32Array.of(variant.defaults.guidance));
    const times = sampling(steps, variant.time_shift ? shift(tokens, variant.schedule) : null);
    for (let i = 0; i < steps; i++) {
      const { latent } = await this.transformer.run({
        ...fixed,
        hidden_states: this.numbers(x, [1, tokens, 4 * channels]),
        timestep: this.numbers(Float32Array.of(times[i])),
      });
      const change = float32(times[i + 1] - times[i]), velocity = latent.data;
      x = x.map((value, k) => value + float32(change * velocity[k]));
      told(i + 1, steps);
    }
    if (!x.every(Number.isFinite))
      throw new Error(`the model returned values that are not finite in ${this.index.dtype}`);
    return { picture: await this.decode(x, rows, columns), dropped };
  }

  /** A prompt's states, zero at padding, and their mean. */
  async encode(prompt) {
    const { ids, dropped } = this.words.read(prompt), { length } = this.words;
    const whole = (values) => new this.ort.Tensor("int64", values, [1, ids.length]);
    const { text_embeddings, pooled_embeddings } = await this.bert.run({
      input_ids: whole(BigInt64Array.from(ids, BigInt)),
      attention_mask: whole(new BigInt64Array(ids.length).fill(1n)),
    });
    const width = text_embeddings.dims[2], states = new Float32Array(length * width);
    states.set(text_embeddings.data);
    const words = {
      encoder_hidden_states: this.numbers(states, [1, length, width]),
      pooled_projections: pooled_embeddings,
    };
    return { words, dropped };
  }

  async decode(x, rows, columns) {
    const { latent_channels, scale_factor, shift_factor } = this.variant.autoencoder;
    const latents = unpack(x, latent_channels, rows, columns);
    const scale = float32(scale_factor), offset = float32(shift_factor);
    const raw = latents.map((value) => float32(value / scale) + offset);
    const shape = [1, latent_channels, 2 * rows, 2 * columns];
    const { images } = await this.vae.run({ latent: this.numbers(raw, shape) });
    const [, , height, width] = images.dims, area = width * height;
    const picture = new ImageData(width, height);
    for (let i = 0; i < area; i++) {
      for (let colour = 0; colour < 3; colour++) {
        const value = Math.min(Math.max(images.data[colour * area + i], -1), 1);
        picture.data[4 * i + colour] = Math.round((value + 1) * 127.5);
      }
      picture.data[4 * i + 3] = 255;
    }
    return picture;
  }

  numbers(values, shape = [values.length]) {
    return new this.ort.Tensor("float32", values, shape);
  }
}

/** onnxruntime-web's build for a provider. Threads need a page that is isolated from others. */
async function runtime(provider) {
  if (!(provider in BUILDS)) throw new Error(`provider: '${provider}' is none of wasm, webgpu`);
  let ort;
  try {
    ort = await import(`./vendor/${BUILDS[provider]}`);
  } catch {
    throw new Error("onnxruntime-web is not in vendor/; fetch it: ./vendor.sh");
  }
  ort.env.wasm.numThreads = self.crossOriginIsolated ? navigator.hardwareConcurrency : 1;
  ort.env.logLevel = "error";
  return ort;
}

/** A file's bytes; `told` hears how many more there are. */
async function download(url, size, told) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`model: ${url} is missing (${answer.status}); export it again`);
  const bytes = new Uint8Array(size), reader = answer.body.getReader();
  let end = 0;
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    if (end + part.value.length <= size) bytes.set(part.value, end);
    end += part.value.length;
    told(part.value.length);
  }
  if (end !== size)
    throw new Error(`model: ${url} has ${end} bytes, model_index.json says ${size}; export it again`);
  return bytes;
}

/** steps + 1 times from 1 down to 0, moved towards noise by mu. */
function sampling(steps, mu) {
  const times = Array.from({ length: steps + 1 }, (_, i) => 1 - i / steps), s = Math.exp(mu ?? 0);
  return mu === null ? times : times.map((t) => (s * t) / (1 + (s - 1) * t));
}

/** The strength of a model's time shift: linear in the tokens. */
function shift(tokens, { few: [few, low], many: [many, high], linear, spacing }) {
  if (spacing !== "even") throw new Error(`the model's times are spaced ${spacing}, not evenly`);
  const strength = low + (tokens - few) * ((high - low) / (many - few));
  return linear ? Math.log(strength) : strength;
}

/** (0, row, column) of each token. */
function positions(rows, columns) {
  const ids = new Float32Array(3 * rows * columns);
  for (let i = 0; i < rows * columns; i++) {
    ids[3 * i + 1] = Math.floor(i / columns);
    ids[3 * i + 2] = i % columns;
  }
  return ids;
}

/** Calls `each` with the place of every number among latents and among tokens of 2x2 latents. */
function patches(channels, rows, columns, each) {
  for (let c = 0; c < channels; c++)
    for (let y = 0; y < 2 * rows; y++)
      for (let x = 0; x < 2 * columns; x++) {
        const token = (y >> 1) * columns + (x >> 1), feature = 4 * c + 2 * (y & 1) + (x & 1);
        each((c * 2 * rows + y) * 2 * columns + x, token * 4 * channels + feature);
      }
}

function pack(latents, channels, rows, columns) {
  const tokens = new Float32Array(latents.length);
  patches(channels, rows, columns, (latent, token) => (tokens[token] = latents[latent]));
  return tokens;
}

function unpack(tokens, channels, rows, columns) {
  const latents = new Float32Array(tokens.length);
  patches(channels, rows, columns, (latent, token) => (latents[latent] = tokens[token]));
  return latents;
}
