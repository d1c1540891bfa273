// Updates of many tensors at once: what optimizers do to weights and to their own state.

// Tensors of one launch.
#define TENSORS 64

// How the blocks of a launch are divided among its tensors: each has as many as its numbers fill.
typedef struct {
    unsigned count[TENSORS], first[TENSORS]; // numbers of a tensor; its first block, beyond all where there is no tensor
    unsigned span; // numbers of a block
} Division;

// The numbers of a tensor that a block is for.
typedef struct { unsigned tensor, begin, end; } Part;

INLINE Part part_of(const Division *division) {
    Part part;
    part.tensor = 0;
    for (unsigned step = TENSORS / 2; step > 0; step /= 2) {
        if (division->first[part.tensor + step] <= blockIdx.x) part.tensor += step;
    }
    const unsigned count = division->count[part.tensor];
    part.begin = (blockIdx.x - division->first[part.tensor]) * division->span;
    part.end = count - part.begin < division->span ? count : part.begin + division->span;
    return part;
}

// Where a thread goes on within a part, with numbers in flight that are BLOCK apart.
#define EACH_OF_PART(first, part)                                                                                    \
    for (unsigned first = (part).begin + threadIdx.x; first < (part).end; first += IN_FLIGHT * BLOCK)

// Where a number of a weight [O, inputs, taps] is in [O, taps, inputs].
INLINE unsigned packed_index(unsigned index, unsigned inputs, unsigned taps) {
    const unsigned tap = index % taps, input = index / taps % inputs, output = index / taps / inputs;
    return (output * taps + tap) * inputs + input;
}

// Puts a number of a weight there; with `rest`, so far behind it, what its rounding leaves.
INLINE void put_packed(Number *packed, unsigned at, unsigned rest, Real number) {
    const Number most = rounded(number);
    packed[at] = most;
    if (rest) packed[at + rest] = rounded(number - load(most));
}

typedef struct {
    Real *target[TENSORS];
    const Real *x[TENSORS], *y[TENSORS];
    // Where targets [O, inputs, taps] that are weights of convolutions are kept as [O, taps, inputs] too, if anywhere.
    Number *packed[TENSORS];
    unsigned inputs[TENSORS], taps[TENSORS];
    Division division;
    unsigned is_split; // whether copies are of numbers and then of what their rounding leaves
    unsigned formula;
    // Where a captured graph finds its parameters, four for each update; without it they are here.
    const double *buffer;
    unsigned row;
    Real c0, c1, c2, c3;
} Update;

KERNEL(update, Update) {
    const Part part = part_of(&a.division);
    const unsigned tensor = part.tensor, inputs = a.inputs[tensor], taps = a.taps[tensor];
    Real *target = a.target[tensor];
    const Real *x = a.x[tensor], *y = a.y[tensor];
    Number *packed = a.packed[tensor];
    const unsigned rest = a.is_split ? a.division.count[tensor] : 0;
    const double *buffer = a.buffer ? a.buffer + 4 * a.row : 0;
    const Real c0 = buffer ? (Real)buffer[0] : a.c0, c1 = buffer ? (Real)buffer[1] : a.c1;
    const Real c2 = buffer ? (Real)buffer[2] : a.c2, c3 = buffer ? (Real)buffer[3] : a.c3;
    EACH_OF_PART(first, part) {
        Real t[IN_FLIGHT], xs[IN_FLIGHT], ys[IN_FLIGHT];
        for (unsigned k = 0; k < IN_FLIGHT; k++) {
            const unsigned index = in_flight(first, k, BLOCK, part.end);
            t[k] = target[index];
            xs[k] = x[index];
            ys[k] = y[index];
        }
        for (unsigned k = 0; k < IN_FLIGHT; k++) {
            const unsigned index = first + k * BLOCK;
            if (index >= part.end) break;
            Real updated = c0 * t[k];
            if (a.formula == 0) {
                // c0·t + c1·(x + c2·y)
                updated += c1 * (xs[k] + c2 * ys[k]);
            } else if (a.formula == 1) {
                // c0·t + c1·(x + c2·y)²
                const Real sum = xs[k] + c2 * ys[k];
                updated += c1 * sum * sum;
            } else if (a.formula == 2) {
                // c0·t − c1·x / (√y · c2 + c3)
                updated -= c1 * xs[k] / (ROOT(ys[k]) * c2 + c3);
            } else {
                // c0·t + c1·x + c2·y
                updated += c1 * xs[k] + c2 * ys[k];
            }
            target[index] = updated;
            if (packed) put_packed(packed, packed_index(index, inputs, taps), rest, updated);
        }
    }
}

// Adam's step, and before it those of both averages.
typedef struct {
    Real *weight[TENSORS];
    const Real *gradient[TENSORS];
    Real *average[TENSORS], *average_of_squares[TENSORS];
    Number *packed[TENSORS]; // as in Update
    unsigned inputs[TENSORS], taps[TENSORS];
    Division division;
    unsigned is_split; // as in Update
    // Where a captured graph finds its parameters, eight for each step; without it they are here.
    const double *buffer;
    unsigned row;
    double beta1, beta2, weight_decay, keep, rate, scale, epsilon, none;
} Adam;

KERNEL(adam, Adam) {
    const Part part = part_of(&a.division);
    const unsigned tensor = part.tensor, inputs = a.inputs[tensor], taps = a.taps[tensor];
    Real *weight = a.weight[tensor], *average = a.average[tensor], *average_of_squares = a.average_of_squares[tensor];
    const Real *gradient = a.gradient[tensor];
    Number *packed = a.packed[tensor];
    const unsigned rest = a.is_split ? a.division.count[tensor] : 0;
    const double *buffer = a.buffer ? a.buffer + 4 * a.row : 0;
    const double beta1 = buffer ? buffer[0] : a.beta1, beta2 = buffer ? buffer[1] : a.beta2;
    const Real decay1 = (Real)beta1, share1 = (Real)(1 - beta1), decay2 = (Real)beta2, share2 = (Real)(1 - beta2);
    const Real weight_decay = (Real)(buffer ? buffer[2] : a.weight_decay), keep = (Real)(buffer ? buffer[3] : a.keep);
    const Real rate = (Real)(buffer ? buffer[4] : a.rate), scale = (Real)(buffer ? buffer[5] : a.scale);
    const Real epsilon = (Real)(buffer ? buffer[6] : a.epsilon);
    EACH_OF_PART(start, part) {
        Real w[IN_FLIGHT], sum[IN_FLIGHT], first[IN_FLIGHT], second[IN_FLIGHT];
        for (unsigned k = 0; k < IN_FLIGHT; k++) {
            const unsigned index = in_flight(start, k, BLOCK, part.end);
            w[k] = weight[index];
            sum[k] = gradient[index];
            first[k] = average[index];
            second[k] = average_of_squares[index];
        }
        for (unsigned k = 0; k < IN_FLIGHT; k++) {
            const unsigned index = start + k * BLOCK;
            if (index >= part.end) break;
            sum[k] += weight_decay * w[k];
            first[k] = decay1 * first[k] + share1 * sum[k];
            second[k] = decay2 * second[k] + share2 * sum[k] * sum[k];
            const Real moved = keep * w[k] - rate * first[k] / (ROOT(second[k]) * scale + epsilon);
            average[index] = first[k];
            average_of_squares[index] = second[k];
            weight[index] = moved;
            if (packed) put_packed(packed, packed_index(index, inputs, taps), rest, moved);
        }
    }
}

// The norm of all tensors: sums of squares, one per block of all launches; the last block of the last launch adds them up.
typedef struct {
    const Real *x[TENSORS];
    Division division;
    unsigned before, total; // blocks of the launches before; of all
    double *partial;
    unsigned *ticket;
    double *norm; // none but in the last launch
} Norm;

KERNEL(norm, Norm) {
    const Part part = part_of(&a.division);
    const Real *x = a.x[part.tensor];
    double sum = 0;
    EACH_OF_PART(first, part) {
        Real some[IN_FLIGHT];
        for (unsigned k = 0; k < IN_FLIGHT; k++) some[k] = x[in_flight(first, k, BLOCK, part.end)];
        for (unsigned k = 0; k < IN_FLIGHT; k++) {
            if (first + k * BLOCK < part.end) sum += (double)some[k] * some[k];
        }
    }
    sum = summed_block(sum);
    if (threadIdx.x == 0) a.partial[a.before + blockIdx.x] = sum;
    if (!a.norm || !is_last_block(a.ticket)) return;
    sum = 0;
    for (unsigned first = threadIdx.x; first < a.total; first += IN_FLIGHT * BLOCK) {
        double some[IN_FLIGHT];
        for (unsigned k = 0; k < IN_FLIGHT; k++) some[k] = a.partial[in_flight(first, k, BLOCK, a.total)];
        for (unsigned k = 0; k < IN_FLIGHT; k++) {
            if (first + k * BLOCK < a.total) sum += some[k];
        }
    }
    sum = summed_block(sum);
    if (threadIdx.x == 0) a.norm[0] = sqrt(sum);
}

// Each tensor times limit / (norm + 1e-6), where that is below one.
typedef struct {
    Real *target[TENSORS];
    const Real *x[TENSORS];
    Division division;
    const double *norm;
    double limit;
} Clip;

KERNEL(clip, Clip) {
    const Part part = part_of(&a.division);
    Real *target = a.target[part.tensor];
    const Real *x = a.x[part.tensor];
    const double norm = a.norm[0];
    EACH_OF_PART(first, part) {
        Real some[IN_FLIGHT];
        for (unsigned k = 0; k < IN_FLIGHT; k++) some[k] = x[in_flight(first, k, BLOCK, part.end)];
        const double factor = a.limit / (norm + 1e-6);
        const Real scale = factor < 1 ? (Real)factor : 1;
        for (unsigned k = 0; k < IN_FLIGHT; k++) {
            if (first + k * BLOCK < part.end) target[first + k * BLOCK] = scale * some[k];
        }
    }
}
