// The logarithm of the softmax over the classes of logits [B, classes]. A block computes an image.

typedef struct {
    const Real *logits;
    Real *log_target;
    unsigned classes;
} LogSoftmax;

INLINE Real largest_of_block(Real number) {
    __shared__ Real shared[BLOCK];
    __syncthreads();
    shared[threadIdx.x] = number;
    __syncthreads();
    for (unsigned half = BLOCK / 2; half > 0; half /= 2) {
        if (threadIdx.x < half && shared[threadIdx.x + half] > shared[threadIdx.x]) {
            shared[threadIdx.x] = shared[threadIdx.x + half];
        }
        __syncthreads();
    }
    return shared[0];
}

// The logarithm of the sum of the exponentials of an image's logits / temperature.
INLINE Real log_sum_of(const Real *logits, unsigned classes, Real temperature) {
    Real largest = logits[0] / temperature;
    for (unsigned class_ = threadIdx.x; class_ < classes; class_ += BLOCK) {
        if (logits[class_] / temperature > largest) largest = logits[class_] / temperature;
    }
    largest = largest_of_block(largest);
    double sum = 0;
    for (unsigned class_ = threadIdx.x; class_ < classes; class_ += BLOCK) sum += EXP(logits[class_] / temperature - largest);
    return (Real)log(summed_block(sum)) + largest;
}

KERNEL(log_softmax, LogSoftmax) {
    const unsigned first = blockIdx.x * a.classes;
    const Real log_sum = log_sum_of(a.logits + first, a.classes, 1);
    for (unsigned class_ = threadIdx.x; class_ < a.classes; class_ += BLOCK) {
        a.log_target[first + class_] = a.logits[first + class_] - log_sum;
    }
}

typedef struct {
    const Real *log_target, *gradient;
    Real *of_logits;
    unsigned classes;
} LogSoftmaxGradient;

KERNEL(log_softmax_gradient, LogSoftmaxGradient) {
    const unsigned first = blockIdx.x * a.classes;
    double sum = 0;
    for (unsigned class_ = threadIdx.x; class_ < a.classes; class_ += BLOCK) sum += a.gradient[first + class_];
    const Real total = (Real)summed_block(sum);
    for (unsigned class_ = threadIdx.x; class_ < a.classes; class_ += BLOCK) {
        a.of_logits[first + class_] = a.gradient[first + class_] - EXP(a.log_target[first + class_]) * total;
    }
}

// The sum over the classes of t · (log t − log s) for each image, and scale times the sum of these, where s is the softmax of
// logits / temperature; log s is kept. So are t and log t of target_logits, where there are any.
typedef struct {
    const Real *logits, *target_logits;
    Real *target, *log_target, *log_softmax, *divergence, *total;
    unsigned *ticket;
    unsigned classes;
    Real temperature, scale;
} Divergence;

KERNEL(divergence, Divergence) {
    const unsigned first = blockIdx.x * a.classes;
    const Real log_sum = log_sum_of(a.logits + first, a.classes, a.temperature);
    const Real target_log_sum = a.target_logits ? log_sum_of(a.target_logits + first, a.classes, a.temperature) : 0;
    double divergence = 0;
    for (unsigned class_ = threadIdx.x; class_ < a.classes; class_ += BLOCK) {
        const Real log_softmax = a.logits[first + class_] / a.temperature - log_sum;
        a.log_softmax[first + class_] = log_softmax;
        if (a.target_logits) {
            a.log_target[first + class_] = a.target_logits[first + class_] / a.temperature - target_log_sum;
            a.target[first + class_] = EXP(a.log_target[first + class_]);
        }
        divergence += (double)a.target[first + class_] * (a.log_target[first + class_] - log_softmax);
    }
    divergence = summed_block(divergence);
    if (threadIdx.x == 0) a.divergence[blockIdx.x] = (Real)divergence;
    if (!is_last_block(a.ticket)) return;
    double total = 0;
    for (unsigned image = threadIdx.x; image < gridDim.x; image += BLOCK) total += a.divergence[image];
    total = summed_block(total);
    if (threadIdx.x == 0) a.total[0] = (Real)(a.scale * total);
}

// The gradient of the logits: scale · gradient · (s · Σ t − t); and of those of the target: scale · gradient · t · (log t − log s −
// the image's divergence).
typedef struct {
    const Real *target, *log_target, *log_softmax, *divergence, *gradient;
    Real *of_logits, *of_target_logits; // none of a constant
    unsigned classes;
    Real scale;
} DivergenceGradient;

KERNEL(divergence_gradient, DivergenceGradient) {
    const unsigned first = blockIdx.x * a.classes;
    double sum = 0;
    for (unsigned class_ = threadIdx.x; class_ < a.classes; class_ += BLOCK) sum += a.target[first + class_];
    const Real total = (Real)summed_block(sum), factor = a.scale * a.gradient[0];
    for (unsigned class_ = threadIdx.x; class_ < a.classes; class_ += BLOCK) {
        const unsigned index = first + class_;
        if (a.of_logits) a.of_logits[index] = factor * (EXP(a.log_softmax[index]) * total - a.target[index]);
        if (a.of_target_logits) {
            const Real excess = a.log_target[index] - a.log_softmax[index] - a.divergence[blockIdx.x];
            a.of_target_logits[index] = factor * a.target[index] * excess;
        }
    }
}
