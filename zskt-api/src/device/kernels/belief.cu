// Beliefs: the logarithm of the softmax over the classes of logits [B, classes]. A block computes an image.

typedef struct {
    const Real *logits;
    Real *log_belief;
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

KERNEL(log_softmax, LogSoftmax) {
    const Real *logits = a.logits + blockIdx.x * a.classes;
    Real largest = logits[0];
    for (unsigned class_ = threadIdx.x; class_ < a.classes; class_ += BLOCK) {
        if (logits[class_] > largest) largest = logits[class_];
    }
    largest = largest_of_block(largest);
    double sum = 0;
    for (unsigned class_ = threadIdx.x; class_ < a.classes; class_ += BLOCK) sum += EXP(logits[class_] - largest);
    const Real log_sum = (Real)log(summed_block(sum)) + largest;
    for (unsigned class_ = threadIdx.x; class_ < a.classes; class_ += BLOCK) {
        a.log_belief[blockIdx.x * a.classes + class_] = logits[class_] - log_sum;
    }
}

typedef struct {
    const Real *log_belief, *gradient;
    Real *of_logits;
    unsigned classes;
} LogSoftmaxGradient;

KERNEL(log_softmax_gradient, LogSoftmaxGradient) {
    const unsigned first = blockIdx.x * a.classes;
    double sum = 0;
    for (unsigned class_ = threadIdx.x; class_ < a.classes; class_ += BLOCK) sum += a.gradient[first + class_];
    const Real total = (Real)summed_block(sum);
    for (unsigned class_ = threadIdx.x; class_ < a.classes; class_ += BLOCK) {
        a.of_logits[first + class_] = a.gradient[first + class_] - EXP(a.log_belief[first + class_]) * total;
    }
}
