// Updates of many tensors at once: what optimizers do to weights and to their own state.

// Tensors of one launch.
#define TENSORS 64

// Where a number of a weight [O, inputs, taps] is in [O, taps, inputs].
INLINE unsigned packed_index(unsigned index, unsigned inputs, unsigned taps) {
    const unsigned tap = index % taps, input = index / taps % inputs, output = index / taps / inputs;
    return (output * taps + tap) * inputs + input;
}

typedef struct {
    Real *target[TENSORS];
    const Real *x[TENSORS], *y[TENSORS];
    // Where targets [O, inputs, taps] that are weights of convolutions are kept as [O, taps, inputs] too, if anywhere.
    Number *packed[TENSORS];
    unsigned count[TENSORS], inputs[TENSORS], taps[TENSORS];
    unsigned formula, blocks; // blocks of a tensor
    // Where a captured graph finds its parameters, four for each update; without it they are here.
    const double *buffer;
    unsigned row;
    Real c0, c1, c2, c3;
} Update;

KERNEL_BEFORE_READERS(update, Update) {
    const unsigned tensor = blockIdx.x / a.blocks;
    Real *target = a.target[tensor];
    const Real *x = a.x[tensor], *y = a.y[tensor];
    Number *packed = a.packed[tensor];
    const unsigned count = a.count[tensor], inputs = a.inputs[tensor], taps = a.taps[tensor];
    const double *buffer = a.buffer ? a.buffer + 4 * a.row : 0;
    const Real c0 = buffer ? (Real)buffer[0] : a.c0, c1 = buffer ? (Real)buffer[1] : a.c1;
    const Real c2 = buffer ? (Real)buffer[2] : a.c2, c3 = buffer ? (Real)buffer[3] : a.c3;
    for (unsigned index = blockIdx.x % a.blocks * BLOCK + threadIdx.x; index < count; index += a.blocks * BLOCK) {
        Real t = target[index];
        if (a.formula == 0) {
            // c0·t + c1·(x + c2·y)
            t = c0 * t + c1 * (x[index] + c2 * y[index]);
        } else if (a.formula == 1) {
            // c0·t + c1·(x + c2·y)²
            const Real sum = x[index] + c2 * y[index];
            t = c0 * t + c1 * sum * sum;
        } else if (a.formula == 2) {
            // c0·t − c1·x / (√y · c2 + c3)
            t = c0 * t - c1 * x[index] / (ROOT(y[index]) * c2 + c3);
        } else {
            // c0·t + c1·x + c2·y
            t = c0 * t + c1 * x[index] + c2 * y[index];
        }
        target[index] = t;
        if (packed) packed[packed_index(index, inputs, taps)] = rounded(t);
    }
}

// Adam's step, and before it those of both averages.
typedef struct {
    Real *weight[TENSORS];
    const Real *gradient[TENSORS];
    Real *average[TENSORS], *average_of_squares[TENSORS];
    Number *packed[TENSORS]; // as in Update
    unsigned count[TENSORS], inputs[TENSORS], taps[TENSORS];
    unsigned blocks; // of a tensor
    // Where a captured graph finds its parameters, eight for each step; without it they are here.
    const double *buffer;
    unsigned row;
    double beta1, beta2, weight_decay, keep, rate, scale, epsilon, none;
} Adam;

KERNEL_BEFORE_READERS(adam, Adam) {
    const unsigned tensor = blockIdx.x / a.blocks;
    Real *weight = a.weight[tensor], *average = a.average[tensor], *average_of_squares = a.average_of_squares[tensor];
    const Real *gradient = a.gradient[tensor];
    Number *packed = a.packed[tensor];
    const unsigned count = a.count[tensor], inputs = a.inputs[tensor], taps = a.taps[tensor];
    const double *buffer = a.buffer ? a.buffer + 4 * a.row : 0;
    const double beta1 = buffer ? buffer[0] : a.beta1, beta2 = buffer ? buffer[1] : a.beta2;
    const Real decay1 = (Real)beta1, share1 = (Real)(1 - beta1), decay2 = (Real)beta2, share2 = (Real)(1 - beta2);
    const Real weight_decay = (Real)(buffer ? buffer[2] : a.weight_decay), keep = (Real)(buffer ? buffer[3] : a.keep);
    const Real rate = (Real)(buffer ? buffer[4] : a.rate), scale = (Real)(buffer ? buffer[5] : a.scale);
    const Real epsilon = (Real)(buffer ? buffer[6] : a.epsilon);
    for (unsigned index = blockIdx.x % a.blocks * BLOCK + threadIdx.x; index < count; index += a.blocks * BLOCK) {
        const Real w = weight[index], sum = gradient[index] + weight_decay * w;
        const Real first = decay1 * average[index] + share1 * sum;
        const Real second = decay2 * average_of_squares[index] + share2 * sum * sum;
        const Real moved = keep * w - rate * first / (ROOT(second) * scale + epsilon);
        average[index] = first;
        average_of_squares[index] = second;
        weight[index] = moved;
        if (packed) packed[packed_index(index, inputs, taps)] = rounded(moved);
    }
}

// The norm of all tensors: sums of squares, one per block of all launches; the last block of the last launch adds them up.
typedef struct {
    const Real *x[TENSORS];
    unsigned count[TENSORS];
    unsigned blocks; // of a tensor
    unsigned first, total;
    double *partial;
    unsigned *ticket;
    double *norm; // none but in the last launch
} Norm;

KERNEL(norm, Norm) {
    const unsigned tensor = blockIdx.x / a.blocks;
    const Real *x = a.x[tensor];
    double sum = 0;
    for (unsigned index = blockIdx.x % a.blocks * BLOCK + threadIdx.x; index < a.count[tensor]; index += a.blocks * BLOCK) {
        sum += (double)x[index] * x[index];
    }
    sum = summed_block(sum);
    if (threadIdx.x == 0) a.partial[a.first + blockIdx.x] = sum;
    if (!a.norm || !is_last_block(a.ticket)) return;
    sum = 0;
    for (unsigned index = threadIdx.x; index < a.total; index += BLOCK) sum += a.partial[index];
    sum = summed_block(sum);
    if (threadIdx.x == 0) a.norm[0] = sqrt(sum);
}

// Each tensor times limit / (norm + 1e-6), where that is below one.
typedef struct {
    Real *target[TENSORS];
    const Real *x[TENSORS];
    unsigned count[TENSORS];
    unsigned blocks;
    const double *norm;
    double limit;
} Clip;

KERNEL(clip, Clip) {
    const unsigned tensor = blockIdx.x / a.blocks;
    const double factor = a.limit / (a.norm[0] + 1e-6);
    const Real scale = factor < 1 ? (Real)factor : 1;
    for (unsigned index = blockIdx.x % a.blocks * BLOCK + threadIdx.x; index < a.count[tensor]; index += a.blocks * BLOCK) {
        a.target[tensor][index] = scale * a.x[tensor][index];
    }
}
