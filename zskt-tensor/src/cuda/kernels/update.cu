// Updates of many tensors at once: what optimizers do to weights and to their own state.

// Tensors of one launch.
#define TENSORS 64

typedef struct {
    Real *target[TENSORS];
    const Real *x[TENSORS], *y[TENSORS];
    unsigned count[TENSORS];
    unsigned formula, blocks; // blocks of a tensor
    // Where a captured graph finds its parameters, four for each update; without it they are here.
    const double *buffer;
    unsigned row;
    Real c0, c1, c2, c3;
} Update;

KERNEL(update, Update) {
    const unsigned tensor = blockIdx.x / a.blocks;
    Real *target = a.target[tensor];
    const Real *x = a.x[tensor], *y = a.y[tensor];
    const unsigned count = a.count[tensor];
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
    }
}

// Sums of squares, one per block.
typedef struct {
    const Real *x[TENSORS];
    unsigned count[TENSORS];
    unsigned blocks;
    double *partial;
} Squares;

KERNEL(squares, Squares) {
    const unsigned tensor = blockIdx.x / a.blocks;
    const Real *x = a.x[tensor];
    double sum = 0;
    for (unsigned index = blockIdx.x % a.blocks * BLOCK + threadIdx.x; index < a.count[tensor]; index += a.blocks * BLOCK) {
        sum += (double)x[index] * x[index];
    }
    sum = summed_block(sum);
    if (threadIdx.x == 0) a.partial[blockIdx.x] = sum;
}

// The root of their sum: the norm of all tensors.
typedef struct {
    const double *partial;
    double *norm;
    unsigned count;
} Norm;

KERNEL(norm, Norm) {
    double sum = 0;
    for (unsigned index = threadIdx.x; index < a.count; index += BLOCK) sum += a.partial[index];
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
