// Reads the arrays that pack.py has written.
async function bytesOf(text) {
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// The inverse of pack.Bytes.series: second differences in time, zigzag, bytes apart. Returns one
// Float32Array (N * C) for each record, in units of `unit`.
function series(bytes, block, unit) {
  const [T, N, C] = block.shape, all = T * N * C, whole = new Int16Array(all);
  const low = bytes.subarray(block.at, block.at + all), high = bytes.subarray(block.at + all, block.at + 2 * all);
  const records = numbers(T).map(() => new Float32Array(N * C));
  for (let c = 0; c < C; c++) {
    for (let k = 0; k < T; k++) {
      for (let i = 0, at = (c * T + k) * N; i < N; i++, at++) {
        const folded = low[at] | (high[at] << 8);
        let q = (folded >>> 1) ^ -(folded & 1);
        if (k > 1) q += 2 * whole[at - N] - whole[at - 2 * N];
        else if (k > 0) q += whole[at - N];
        whole[at] = q;
        records[k][i * C + c] = unit * whole[at];
      }
    }
  }
  return records;
}

// The inverse of pack.Bytes.pictures: first differences in time. One Uint8Array for each record.
function pictures(bytes, block) {
  const [T, ...sides] = block.shape, size = sides.reduce((a, b) => a * b, 1);
  const all = bytes.slice(block.at, block.at + T * size);
  for (let k = size; k < all.length; k++) all[k] += all[k - size];
  return numbers(T).map((k) => all.subarray(k * size, (k + 1) * size));
}
