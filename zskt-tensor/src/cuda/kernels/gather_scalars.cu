// Scalars, wherever they are: their sum, in their order.
typedef struct {
    const Real *x[TENSORS];
    Real *sum;
    unsigned count;
} AddScalars;

KERNEL(add_scalars, AddScalars) {
    if (threadIdx.x > 0) return;
    Real sum = a.x[0][0];
    for (unsigned index = 1; index < a.count; index++) sum += a.x[index][0];
    a.sum[0] = sum;
}

// And as one tensor of doubles: a thread takes one.
typedef struct {
    const float *narrow[TENSORS];
    const double *wide[TENSORS]; // where there is none that is narrow
    double *gathered;
    unsigned count;
} GatherScalars;

KERNEL(gather_scalars, GatherScalars) {
    const unsigned index = threadIdx.x;
    if (index < a.count) a.gathered[index] = a.narrow[index] ? a.narrow[index][0] : a.wide[index][0];
}
