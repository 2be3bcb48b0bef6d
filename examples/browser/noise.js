// torch's normal numbers: the same seed is the same picture here and in Python.
//
// The Mersenne twister of Matsumoto and Nishimura (1998), seeded by a number's low 32 bits; its
// uniform numbers of 24 bits become normal ones by Box and Muller (1958), in blocks of 16. Each step
// is rounded to float32, as there.

const SIZE = 624, MIDDLE = 397, BLOCK = 16;
const float32 = Math.fround;

/** `count` standard normal numbers, a multiple of 16, as `torch.randn` gives a seeded generator. */
export function standardNormal(seed, count) {
  const next = twister(seed), normal = new Float32Array(count);
  for (let i = 0; i < count; i++) normal[i] = (next() & 0xffffff) * 2 ** -24;
  for (let start = 0; start < count; start += BLOCK) {
    for (let j = start; j < start + BLOCK / 2; j++) {
      const radius = float32(Math.sqrt(float32(-2 * float32(Math.log(1 - normal[j])))));
      const angle = float32(float32(2 * Math.PI) * normal[j + BLOCK / 2]);
      normal[j] = radius * float32(Math.cos(angle));
      normal[j + BLOCK / 2] = radius * float32(Math.sin(angle));
    }
  }
  return normal;
}

/** The generator's own numbers, of 32 bits, one at each call. */
function twister(seed) {
  const state = new Uint32Array(SIZE);
  state[0] = seed % 2 ** 32;
  for (let i = 1; i < SIZE; i++) {
    const before = state[i - 1];
    state[i] = Math.imul(1812433253, before ^ (before >>> 30)) + i;
  }
  let place = SIZE;
  return () => {
    if (place === SIZE) {
      place = 0;
      for (let i = 0; i < SIZE; i++) {
        const joined = (state[i] & 0x80000000) | (state[(i + 1) % SIZE] & 0x7fffffff);
        const odd = joined & 1 ? 0x9908b0df : 0;
        state[i] = state[(i + MIDDLE) % SIZE] ^ (joined >>> 1) ^ odd;
      }
    }
    let word = state[place++];
    word ^= word >>> 11;
    word ^= (word << 7) & 0x9d2c5680;
    word ^= (word << 15) & 0xefc60000;
    return (word ^ (word >>> 18)) >>> 0;
  };
}
