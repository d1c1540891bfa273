// Fully connected layers, as small as those behind a network's last map. Sums are in a fixed order.

// Threads that share a sum.
#define SHARES 8
// Numbers of a row that a block sums up.
#define SUMS (BLOCK / SHARES)

// The sum of `sum` over the threads of a block that share it, which are next to each other, in their order; the first has it. For
// all threads of the block.
INLINE Real shared_by_neighbours(Real sum) {
    __shared__ Real shared[BLOCK];
    __syncthreads();
    shared[threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.x % SHARES == 0) {
        for (unsigned k = 1; k < SHARES; k++) sum += shared[threadIdx.x + k];
    }
    return sum;
}

// x [B, inputs] · weightᵀ [inputs, outputs] + bias. A block computes an image.
typedef struct {
    const Real *x, *weight, *bias;
    Real *y;
    unsigned inputs, outputs;
} Linear;

KERNEL(linear, Linear) {
    const Real *x = a.x + blockIdx.x * a.inputs;
    for (unsigned first = 0; first < a.outputs; first += SUMS) {
        const unsigned output = first + threadIdx.x / SHARES;
        Real sum = 0;
        if (output < a.outputs) {
            for (unsigned input = threadIdx.x % SHARES; input < a.inputs; input += SHARES) {
                sum += x[input] * a.weight[output * a.inputs + input];
            }
        }
        sum = shared_by_neighbours(sum);
        if (output < a.outputs && threadIdx.x % SHARES == 0) a.y[blockIdx.x * a.outputs + output] = sum + a.bias[output];
    }
}

// The gradients of x, of which a block computes some numbers, and behind these of the weight and the bias, of which a block computes
// SUMS numbers of the row of an output; the bias is what a row ends with, as a weight of ones.
typedef struct {
    const Real *gradient, *x, *weight;
    Real *of_x, *of_weight, *of_bias; // of x, or of weight and bias, none where nobody wants them
    unsigned batch, inputs, outputs;
    unsigned blocks_of_x, blocks; // of a row of weights
} LinearGradient;

KERNEL(linear_gradient, LinearGradient) {
    if (blockIdx.x < a.blocks_of_x) {
        const unsigned index = blockIdx.x * BLOCK + threadIdx.x, image = index / a.inputs, input = index % a.inputs;
        if (image >= a.batch) return;
        Real sum = 0;
        for (unsigned output = 0; output < a.outputs; output++) {
            sum += a.gradient[image * a.outputs + output] * a.weight[output * a.inputs + input];
        }
        a.of_x[index] = sum;
        return;
    }
    // Neighbours read neighbours: the threads of a sum are SUMS apart.
    __shared__ Real shared[BLOCK];
    const unsigned block = blockIdx.x - a.blocks_of_x, output = block / a.blocks;
    const unsigned input = block % a.blocks * SUMS + threadIdx.x % SUMS, share = threadIdx.x / SUMS;
    Real sum = 0;
    for (unsigned image = share; input <= a.inputs && image < a.batch; image += SHARES) {
        sum += a.gradient[image * a.outputs + output] * (input < a.inputs ? a.x[image * a.inputs + input] : 1);
    }
    shared[threadIdx.x] = sum;
    __syncthreads();
    if (share > 0 || input > a.inputs) return;
    for (unsigned k = 1; k < SHARES; k++) sum += shared[threadIdx.x + k * SUMS];
    if (input < a.inputs) {
        a.of_weight[output * a.inputs + input] = sum;
    } else {
        a.of_bias[output] = sum;
    }
}

// The sums of the columns of [rows, columns], the gradient of a large layer's bias. A block computes SUMS of them.
typedef struct {
    const Real *x;
    Real *sums;
    unsigned rows, columns;
} ColumnSums;

KERNEL(column_sums, ColumnSums) {
    __shared__ Real shared[BLOCK];
    const unsigned column = blockIdx.x * SUMS + threadIdx.x % SUMS, share = threadIdx.x / SUMS;
    Real sum = 0;
    for (unsigned first = share; column < a.columns && first < a.rows; first += IN_FLIGHT * SHARES) {
        Real some[IN_FLIGHT];
        for (unsigned k = 0; k < IN_FLIGHT; k++) some[k] = a.x[in_flight(first, k, SHARES, a.rows) * a.columns + column];
        for (unsigned k = 0; k < IN_FLIGHT; k++) {
            if (first + k * SHARES < a.rows) sum += some[k];
        }
    }
    shared[threadIdx.x] = sum;
    __syncthreads();
    if (share > 0 || column >= a.columns) return;
    for (unsigned k = 1; k < SHARES; k++) sum += shared[threadIdx.x + k * SUMS];
    a.sums[column] = sum;
}
