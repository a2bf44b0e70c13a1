// Makes the model of the page from the data that it holds.

// The number that 16 bits stand for.
function halfToNumber(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

const asFloats = (column) => new Float32Array(column.slice().buffer);

// Returns the numbers of a parameter, which were rounded to 16 or to 8 bits.
function numbersOf(data, {column, rows, width, bits}) {
  const packed = data[column];
  if (bits === 32) return asFloats(packed);
  if (bits === 16) return Float32Array.from(packed, halfToNumber);
  const scales = asFloats(data[column + "_scales"]), numbers = new Float32Array(rows * width);
  for (let row = 0, i = 0; row < rows; row++) {
    for (let j = 0; j < width; j++, i++) numbers[i] = (packed[i] - 128) * scales[row];
  }
  return numbers;
}

function loadModel(data) {
  const matrices = Object.values(data.parameters).filter(({width}) => width);
  const products = new Products(
    matrices.reduce((sum, {rows, width}) => sum + Matrix.bytes(rows, width), 0));
  const network = new Network(data.sizes, (name) => {
    const parameter = data.parameters[name], numbers = numbersOf(data, parameter);
    if (!parameter.width) return numbers;
    return new Matrix(products, numbers, parameter.rows, parameter.width);
  });
  const ngrams = data.ngrams
    && new NGrams(data.ngrams, data.next, data.shared, asFloats(data.odds));
  const {allowed, spelling} = data;
  const settings = {...data.tokenizer, spelling: spelling && {allowed, next: spelling}};
  const tokenizer = new Tokenizer(settings, data.scores && asFloats(data.scores));
  return {model: new Mixture(network, ngrams, data.mixing), tokenizer};
}
