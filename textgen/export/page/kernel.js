// Products of a matrix and a vector, four numbers and four rows at a time, in WebAssembly; in plain
// JavaScript where a browser lacks that. It takes five times the text a second.

// The kernel as bytes: for rows in fours, the sums of matrix times vector. Its locals: 0 where the
// matrix is, 1 the vector, 2 the result, 3 rows left, 4 bytes of a row; 5 to 8 places in four rows,
// 9 in the vector, 10 where the vector ends; 11 to 14 sums, 15 a piece of the vector.
function assembleKernel() {
  const number = (n) => {
    const bytes = [];
    for (; ; n >>= 7) {
      if (n < 64) return [...bytes, n];
      bytes.push((n & 127) | 128);
    }
  };
  const get = (local) => [0x20, local], set = (local) => [0x21, local];
  const constant = (n) => [0x41, ...number(n)], add = [0x6a], subtract = [0x6b], less = [0x49];
  const load = [0xfd, 0x00, 4, 0], plus = [0xfd, 0xe4, 0x01], times = [0xfd, 0xe6, 0x01];
  const lane = (n) => [0xfd, 0x1f, n], sum = [0x92], store = (offset) => [0x38, 2, offset];
  const loop = (body) => [0x03, 0x40, ...body, 0x0d, 0x00, 0x0b];
  const grow = (local, by) => [...get(local), ...by, ...add, ...set(local)];
  const four = [0, 1, 2, 3];
  const inner = loop([
    ...get(9), ...load, ...set(15),
    ...four.flatMap((k) => [
      ...get(11 + k), ...get(5 + k), ...load, ...get(15), ...times, ...plus, ...set(11 + k),
      ...grow(5 + k, constant(16)),
    ]),
    ...grow(9, constant(16)), ...get(9), ...get(10), ...less,
  ]);
  const outer = loop([
    ...get(0), ...set(5),
    ...[1, 2, 3].flatMap((k) => [...get(4 + k), ...get(4), ...add, ...set(5 + k)]),
    ...four.flatMap((k) => [0xfd, 0x0c, ...new Array(16).fill(0), ...set(11 + k)]),
    ...get(1), ...set(9),
    ...inner,
    // The fourth row's end is where the next four begin.
    ...get(8), ...set(0),
    ...four.flatMap((k) => [
      ...get(2), ...four.flatMap((n) => [...get(11 + k), ...lane(n)]), ...sum, ...sum, ...sum,
      ...store(4 * k),
    ]),
    ...grow(2, constant(16)),
    ...get(3), ...constant(4), ...subtract, 0x22, 3,
  ]);
  const code = [
    2, 6, 0x7f, 5, 0x7b,
    ...get(1), ...get(4), ...add, ...set(10),
    ...outer, 0x0b,
  ];
  const section = (kind, bytes) => [kind, ...length(bytes)];
  const length = (bytes) => [...unsigned(bytes.length), ...bytes];
  const unsigned = (n) => n < 128 ? [n] : [(n & 127) | 128, ...unsigned(n >> 7)];
  const text = (name) => length(Array.from(name, (c) => c.charCodeAt(0)));
  return Uint8Array.from([
    0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0,
    ...section(1, [1, 0x60, 5, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0]),
    ...section(2, [1, ...text("page"), ...text("memory"), 0x02, 0x00, 1]),
    ...section(3, [1, 0]),
    ...section(7, [1, ...text("multiply"), 0x00, 0]),
    ...section(10, [1, ...length(code)]),
  ]);
}

// Memory for matrices and their vectors, and what multiplies them.
class Products {
  constructor(bytes) {
    this.used = 0;
    try {
      this.memory = new WebAssembly.Memory({initial: Math.ceil(bytes / 65536) + 1});
      const module = new WebAssembly.Module(assembleKernel());
      const instance = new WebAssembly.Instance(module, {page: {memory: this.memory}});
      this.kernel = instance.exports.multiply;
      this.buffer = this.memory.buffer;
    } catch {
      this.kernel = null;
      this.buffer = new ArrayBuffer(bytes);
    }
  }
  take(numbers) {
    const view = new Float32Array(this.buffer, this.used, numbers);
    this.used += 4 * numbers;
    return view;
  }
}

const upToFour = (n) => Math.ceil(n / 4) * 4;

// A matrix of which rows and columns are filled up with zeros to a multiple of four.
class Matrix {
  static bytes(rows, width) {
    return 4 * (upToFour(rows) * upToFour(width) + upToFour(rows) + upToFour(width));
  }
  constructor(products, values, rows, width) {
    this.products = products;
    this.width = upToFour(width);
    this.numbers = products.take(upToFour(rows) * this.width);
    this.vector = products.take(this.width);
    this.result = products.take(upToFour(rows));
    for (let row = 0; row < rows; row++) {
      this.numbers.set(values.subarray(row * width, (row + 1) * width), row * this.width);
    }
  }
  row(number) {
    return this.numbers.subarray(number * this.width, (number + 1) * this.width);
  }
  // Returns the product with a vector; the next product overwrites it.
  times(vector) {
    this.vector.set(vector);
    const {numbers, width, result, products} = this;
    if (products.kernel) {
      products.kernel(numbers.byteOffset, this.vector.byteOffset, result.byteOffset, result.length, 4 * width);
      return result;
    }
    for (let row = 0; row < result.length; row += 4) {
      let p = row * width, a = 0, b = 0, c = 0, d = 0;
      for (let j = 0; j < width; j++, p++) {
        const x = this.vector[j];
        a += numbers[p] * x;
        b += numbers[p + width] * x;
        c += numbers[p + 2 * width] * x;
        d += numbers[p + 3 * width] * x;
      }
      result.set([a, b, c, d], row);
    }
    return result;
  }
}
