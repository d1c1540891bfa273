// Numbers in another order.

// Weights [O, I, K, K] as convolutions read them beside maps [B, H, W, C]: [O, K, K, I]; and back.

typedef struct {
    const Real *weight[TENSORS];
    Number *packed[TENSORS];
    unsigned inputs[TENSORS], taps[TENSORS];
    Division division;
    unsigned is_split; // as in Update
} PackWeights;

KERNEL(pack_weights, PackWeights) {
    const Part part = part_of(&a.division);
    const unsigned inputs = a.inputs[part.tensor], taps = a.taps[part.tensor];
    const Real *weight = a.weight[part.tensor];
    Number *packed = a.packed[part.tensor];
    const unsigned rest = a.is_split ? a.division.count[part.tensor] : 0;
    EACH_OF_PART(first, part) {
        Real some[IN_FLIGHT];
        for (unsigned k = 0; k < IN_FLIGHT; k++) some[k] = weight[in_flight(first, k, BLOCK, part.end)];
        for (unsigned k = 0; k < IN_FLIGHT; k++) {
            const unsigned index = first + k * BLOCK;
            if (index < part.end) put_packed(packed, packed_index(index, inputs, taps), rest, some[k]);
        }
    }
}

typedef struct {
    const Number *packed;
    Real *weight;
    unsigned outputs, inputs, taps;
} UnpackWeight;

KERNEL(unpack_weight, UnpackWeight) {
    for (unsigned index = blockIdx.x * BLOCK + threadIdx.x; index < a.outputs * a.inputs * a.taps; index += gridDim.x * BLOCK) {
        const unsigned input = index % a.inputs, tap = index / a.inputs % a.taps, output = index / a.inputs / a.taps;
        a.weight[(output * a.inputs + input) * a.taps + tap] = load(a.packed[index]);
    }
}

// Matrices [rows, columns], one behind the other, with rows and columns exchanged: [B, C, H, W] as [B, H, W, C], and back. A block
// does a square of one.
#define SQUARE 32

typedef struct {
    const Number *from;
    Number *to;
    unsigned rows, columns, down, across; // of a matrix, and its squares
} Transpose;

KERNEL(transpose, Transpose) {
    // A number more, for those of a column to be in different banks.
    __shared__ Number square[SQUARE][SQUARE + 1];
    const unsigned matrix = blockIdx.x / a.across / a.down * a.rows * a.columns;
    const unsigned row = blockIdx.x / a.across % a.down * SQUARE, column = blockIdx.x % a.across * SQUARE;
    const unsigned x = threadIdx.x % SQUARE, y = threadIdx.x / SQUARE;
    for (unsigned k = 0; k < SQUARE; k += BLOCK / SQUARE) {
        const unsigned from = row + y + k, at = column + x;
        if (from < a.rows && at < a.columns) square[y + k][x] = a.from[matrix + from * a.columns + at];
    }
    __syncthreads();
    for (unsigned k = 0; k < SQUARE; k += BLOCK / SQUARE) {
        const unsigned to = column + y + k, at = row + x;
        if (to < a.columns && at < a.rows) a.to[matrix + to * a.rows + at] = square[x][y + k];
    }
}
